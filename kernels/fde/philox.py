"""Random numbers out of a counter: the same bytes on every platform, in any order.

Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011, section 4.3):
ten rounds of two 32-bit multiplications. Only integers are touched until the last step, and that is
exact, so a matrix made here is made of the same bits everywhere.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...contracts import Float32Array

UInt32Array: TypeAlias = NDArray[np.uint32]

_LOW = np.uint64(0xFFFFFFFF)
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


def philox(counters: UInt32Array, seed: int) -> UInt32Array:
    """Four random words for each counter: (n, 4) uint32 -> (n, 4) uint32; seed below 2^64."""
    words = [counters[:, place].astype(np.uint64) for place in range(4)]
    keys = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(_ROUNDS):
        first = _MULTIPLIERS[0] * words[0]
        second = _MULTIPLIERS[1] * words[2]
        words = [
            (second >> np.uint64(32)) ^ words[1] ^ np.uint64(keys[0]),
            second & _LOW,
            (first >> np.uint64(32)) ^ words[3] ^ np.uint64(keys[1]),
            first & _LOW,
        ]
        keys = [(key + step) & 0xFFFFFFFF for key, step in zip(keys, _KEY_STEPS, strict=True)]
    return np.stack(words, axis=1).astype(np.uint32)


def words(seed: int, purpose: int, repetition: int, n_blocks: int) -> UInt32Array:
    """Blocks of four words (n_blocks, 4) of one stream; streams differ in purpose or repetition."""
    counters = np.zeros((n_blocks, 4), np.uint32)
    numbers = np.arange(n_blocks, dtype=np.uint64)
    counters[:, 0] = numbers & _LOW
    counters[:, 1] = numbers >> np.uint64(32)
    counters[:, 2] = repetition
    counters[:, 3] = purpose
    return philox(counters, seed)


def bell(seed: int, purpose: int, repetition: int, n: int) -> Float32Array:
    """Draw n numbers in the shape of a Gaussian of mean 0 and variance 24 + 1/12, exact in float32.

    How many of 96 fair bits are set, less 48, and a uniform number in (-1/2, 1/2) that fills the
    steps. A logarithm or a cosine would differ between platforms in its last bit; this is made of
    whole numbers and powers of two.
    """
    blocks = words(seed, purpose, repetition, n)
    ones = np.bitwise_count(blocks[:, :3]).sum(axis=1).astype(np.int64) - 48
    fractions = 2 * (blocks[:, 3] >> np.uint32(16)).astype(np.int64) + 1 - (1 << 16)
    whole: Float32Array = ((ones << 17) + fractions).astype(np.float32)
    return whole * np.float32(2.0**-17)


def signs(seed: int, purpose: int, repetition: int, n: int) -> Float32Array:
    """Draw n fair signs, +1 or -1, as float32."""
    blocks = words(seed, purpose, repetition, -(-n // 128)).ravel()
    bits = (blocks[:, None] >> np.arange(32, dtype=np.uint32)) & np.uint32(1)
    drawn: Float32Array = bits.ravel()[:n].astype(np.float32)
    return 1 - 2 * drawn
