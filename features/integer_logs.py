"""Logarithms of whole numbers, from a table: the same on every processor, which NumPy's log is not.

They are in sixteenths of a doubling: fine enough to tell pauses 5 % apart, small enough to add up in two bytes.
"""

import math

import numpy as np
from numpy.typing import NDArray

PARTS = 16
"""Of a doubling."""
LARGEST = 2**32 - 2
"""The largest number that has a logarithm here."""


def _least_with(logarithm: int) -> int:
    """Return the smallest whole number n for which n**16 >= 2**logarithm: that is n >= 2**(logarithm / 16)."""
    bound = 1 << logarithm
    guess = max(1, math.isqrt(math.isqrt(math.isqrt(math.isqrt(bound)))))  # the 16th root, rounded down
    return guess if guess**PARTS >= bound else guess + 1


_LEAST = np.array([_least_with(logarithm) for logarithm in range(32 * PARTS)], dtype=np.int64)
"""By logarithm, the smallest number (plus one) that has it."""


def log_of(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return floor(16 * log2(1 + n)) of each number.

    Args:
        numbers: int64, from 0 to `LARGEST`.

    >>> log_of(np.array([0, 1, 3, 1_000])).tolist()
    [0, 16, 32, 159]
    """
    return np.searchsorted(_LEAST, numbers + 1, side="right") - 1
