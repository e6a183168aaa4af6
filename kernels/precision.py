"""Which numbers to compute with: float32, or 16 bits where the hardware multiplies them."""

from __future__ import annotations

import functools
from typing import Any

from ..errors import InputError

PRECISIONS = ("auto", "float32", "bfloat16", "float16")


def choose_precision(asked: str, device: str) -> tuple[str, Any]:
    """The precision by name and as torch's dtype.

    auto: bfloat16 where the device has instructions for it (AVX512-BF16, AMX, Ampere and later),
    float32 elsewhere.
    """
    import torch

    if asked == "auto":
        asked = "bfloat16" if has_bfloat16(device) else "float32"
    if asked == "float16" and device == "cpu":
        raise InputError("float16 is for GPUs; on a CPU ask for bfloat16", field="precision")
    return asked, getattr(torch, asked)


@functools.cache
def has_bfloat16(device: str) -> bool:
    """Whether a device multiplies bfloat16 matrices in hardware."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


def default_device() -> str:
    """Where models run unless told otherwise: a GPU that torch finds, else the CPU."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
