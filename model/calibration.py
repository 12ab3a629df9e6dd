"""From log-odds to the score that levels act on: monotone knots, fitted on sessions that training never saw.

Between knots the score is a straight line, so serving needs no exp or log and gives the same bits everywhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

MAX_KNOTS = 60
MIN_ROWS = 30
"""Fewer rows than this say too little to move a score."""

EDGE = 1e-4
"""No score is 0 or 1: calibration data never shows more than this."""

_REACH = 1.0


class CalibrationError(ValueError):
    """The knots cannot be a calibration, or the data cannot give one."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The knots of a calibration; below the first and above the last the score is constant.

    Attributes:
        raw: Log-odds, strictly increasing.
        score: Probabilities within (0, 1), strictly increasing.

    Raises:
        CalibrationError: If the knots are something else.
    """

    raw: tuple[float, ...]
    score: tuple[float, ...]

    def __post_init__(self) -> None:
        sound = (
            len(self.raw) == len(self.score) > 1
            and all(low < high for low, high in pairwise(self.raw))
            and all(low < high for low, high in pairwise(self.score))
            and self.score[0] > 0
            and self.score[-1] < 1
        )
        if not sound or not np.isfinite(self.raw).all():
            msg = "calibration must have two or more finite, strictly increasing knots with scores in (0, 1)"
            raise CalibrationError(msg)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote; KeyError, TypeError or ValueError if it is something else."""
        return cls(tuple(map(float, stored["raw"])), tuple(map(float, stored["score"])))

    def scores_of(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the score of each log-odds."""
        return np.interp(raw, self.raw, self.score)

    def to_json(self) -> dict[str, list[float]]:
        """Return the knots as they stand in a manifest; Python's floats come back to the bit."""
        return {"raw": list(self.raw), "score": list(self.score)}


def fit_calibration(raw: NDArray[np.float64], label: NDArray[np.int8]) -> Calibration:
    """Fit knots by isotonic regression of the label on the log-odds.

    Args:
        raw: float64 (rows,), log-odds of rows that training did not see.
        label: int8 (rows,), 1 for fraud.

    Returns:
        At most `MAX_KNOTS` knots and one beyond either end.

    Raises:
        CalibrationError: If one of the two labels does not occur.
    """
    if not 0 < int(label.sum()) < len(label):
        msg = f"calibration needs rows of both labels, got {int(label.sum())} fraud rows of {len(label)}"
        raise CalibrationError(msg)
    order = np.argsort(raw, kind="stable")
    ascending = raw[order]
    fitted = IsotonicRegression(y_min=0, y_max=1).fit_transform(ascending, label[order].astype(np.float64))
    starts = np.flatnonzero(np.diff(fitted, prepend=-1.0) > 0)
    at_least = MIN_ROWS
    while len(merged := _merged(starts, len(raw), at_least)) > MAX_KNOTS:
        at_least *= 2
    rows = np.diff(merged, append=len(raw))
    return _extended(np.add.reduceat(ascending, merged) / rows, np.add.reduceat(fitted, merged) / rows, ascending)


def _merged(starts: NDArray[np.intp], rows: int, at_least: int) -> NDArray[np.intp]:
    """Drop borders between blocks until every block has `at_least` rows: means of merged blocks stay ordered."""
    kept = [0]
    for start in starts[1:].tolist():
        if start - kept[-1] >= at_least and rows - start >= at_least:
            kept.append(start)
    return np.array(kept, dtype=np.intp)


def _extended(at: NDArray[np.float64], score: NDArray[np.float64], ascending: NDArray[np.float64]) -> Calibration:
    """Clip to what can be claimed, keep only rising knots, and let the ends go on rising a little."""
    knots: list[tuple[float, float]] = [(float(ascending[0]) - _REACH, EDGE / 2)]
    last = (float(ascending[-1]) + _REACH, 1 - EDGE / 2)
    for raw_at, mean in zip(_floats(at), _floats(np.clip(score, EDGE, 1 - EDGE)), strict=True):
        if raw_at > knots[-1][0] and mean > knots[-1][1]:
            knots.append((raw_at, mean))
    raw, scores = zip(*knots, last, strict=True)
    return Calibration(raw, scores)


def _floats(values: Sequence[float] | NDArray[np.float64]) -> list[float]:
    return [float(value) for value in values]
