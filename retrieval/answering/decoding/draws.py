"""Randomness keyed by (seed, position): what is drawn for a token depends on nothing else.

Philox, a counter-based generator (Salmon et al. 2011), under the key (seed, position): neither the
batch a text is decoded in, nor how many tokens were drafted, nor any other generator of the process
moves it.

A token is drawn as the argmax of log p + Gumbel noise (Gumbel 1954; Maddison et al. 2014), whose
law is exactly p. Two runs that round p differently then choose apart only where the two best of
those sums lie within the rounding of each other, as rarely as in greedy decoding; a draw by the
sums of p would part at any of the vocabulary's borders.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .types import Float64Array

_NOISE, _COINS = 0, 1
_MASK = (1 << 64) - 1


class Chance:
    """The draws of one position of a text (its first token has position 0)."""

    def __init__(self, seed: int, position: int) -> None:
        self._key = [seed & _MASK, position]
        self._coins = self._stream(_COINS)

    def coin(self, probability: Any) -> bool:
        """True with this probability: never for 0, always from 1."""
        return bool(self.coins(1)[0] < probability)

    def coins(self, count: int) -> Float64Array:
        """What the next coins fall by: true where below the probability."""
        return _uniform(self._coins, count)

    def pick(self, law: Float64Array) -> int:
        """A token drawn from a law (vocabulary,) float64, which need not sum to 1."""
        with np.errstate(divide="ignore"):
            return int(np.argmax(np.log(law) + self.noise(len(law))))

    def noise(self, vocabulary: int) -> Float64Array:
        """(vocabulary,) float64: this position's Gumbel noise, the same at every call."""
        return -np.log(-np.log(_uniform(self._stream(_NOISE), vocabulary)))

    def _stream(self, purpose: int) -> np.random.Philox:
        return np.random.Philox(
            key=np.array(self._key, np.uint64), counter=np.array([0, 0, 0, purpose], np.uint64)
        )


def drafting_seed(seed: int, drafter: int) -> int:
    """What a drafter draws by: p-over-q is exact only where that tells nothing of the above."""
    return int(np.random.SeedSequence([seed & _MASK, drafter, 1]).generate_state(1, np.uint64)[0])


def _uniform(stream: np.random.Philox, count: int) -> Float64Array:
    """Of 53 bits, in the open interval (0, 1)."""
    bits = (stream.random_raw(count) >> np.uint64(11)).astype(np.float64)
    return np.asarray((bits + 0.5) * 2.0**-53)
