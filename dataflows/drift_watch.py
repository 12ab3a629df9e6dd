"""Watches how far live features and scores have moved from training: a sample of rows, published as gauges.

Per process and not part of any state: it decides nothing.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.drift import SCORE, Drift, Window
from observability import metrics

ROWS_A_SECOND = 500
"""So many are counted at most: 50 numbers each, a millisecond a second."""
_PUBLISH_SECONDS = 60.0


class DriftWatch:
    """The drift of one model's numbers.

    Args:
        reference: As `model.drift.frozen` gave it.
        clock: In seconds.
    """

    def __init__(self, reference: Mapping[str, Any], clock: Callable[[], float] = time.monotonic) -> None:
        self._reference = reference
        self._clock = clock
        self._window = Window(reference)
        self._waiting: list[tuple[NDArray[Any], ...]] = []
        """Rows that are counted together: to count a few costs as much as to count hundreds."""
        self._waiting_rows = 0
        self._opened = self._counts_from = clock()

    @property
    def is_counting(self) -> bool:
        """Whether rows would be counted now."""
        return self._clock() >= self._counts_from

    def add(self, matrix: NDArray[np.float64], place: NDArray[np.uint64], score: NDArray[np.float64]) -> None:
        """Take note of some scored rows: the newest of a second, and nothing of the others."""
        now = self._clock()
        if not self.is_counting or not len(matrix):
            return
        taken = min(len(matrix), ROWS_A_SECOND)
        self._counts_from = now + taken / ROWS_A_SECOND
        self._waiting.append((matrix[-taken:].copy(), place[-taken:], score[-taken:].copy()))
        self._waiting_rows += taken
        if self._waiting_rows >= ROWS_A_SECOND:
            self._window.add(*(np.concatenate(rows) for rows in zip(*self._waiting, strict=True)))
            self._waiting, self._waiting_rows = [], 0
        if now >= self._opened + _PUBLISH_SECONDS and (drift := self._window.drift()) is not None:
            _publish(drift)
            self._window, self._opened = Window(self._reference), now


def _publish(drift: Drift) -> None:
    for name, psi in drift.psi.items():
        if name == SCORE:
            metrics.SCORE_DRIFT.set(psi)
        else:
            metrics.FEATURE_DRIFT.labels(name).set(psi)
    for name, share in drift.neutral.items():
        metrics.FEATURE_NEUTRAL.labels(name).set(share)
    metrics.UNSEEN_PLACES.set(drift.unseen)
