"""Which version answers: the one that the index is ready for.

Impacts in memory, or mapped from files, are searched on the CPU. :func:`placed` puts the documents
on a CUDA device where there is one, once; from then on the Triton version finds candidates there.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from . import cpu
from .layout import Best, Effort, Impacts, Queries, UInt64Array

if TYPE_CHECKING:
    from .gpu import DeviceImpacts

DRIVER = Path("/proc/driver/nvidia/version")
"""There where a GPU can be; looked at first, because importing torch takes seconds."""


@cache
def has_device() -> bool:
    """Whether there is a CUDA device."""
    if not DRIVER.exists():
        return False
    import torch

    return bool(torch.cuda.is_available())


def placed(impacts: Impacts) -> Impacts | DeviceImpacts:
    """The documents on the CUDA device, where there is one; else as they are."""
    if not has_device():
        return impacts
    from .gpu import on_device

    return on_device(impacts, "cuda")


def search(
    impacts: Impacts | DeviceImpacts,
    queries: Queries,
    effort: Effort,
    allowed: UInt64Array,
    best: Best,
) -> None:
    """Push the best documents of each query onto ``best``; see the package.

    On a device every document is scored, whatever the effort.
    """
    if isinstance(impacts, Impacts):
        cpu.search(impacts, queries, effort, allowed, best)
    else:
        from . import gpu

        gpu.push(impacts, queries, allowed, best)
