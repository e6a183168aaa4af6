"""Which numbers encoders compute with: what :mod:`cormorant.kernels.precision` says."""

from __future__ import annotations

from ...kernels.precision import PRECISIONS, choose_precision, default_device, has_bfloat16

__all__ = ["PRECISIONS", "choose_precision", "default_device", "has_bfloat16"]
