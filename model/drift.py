"""How far live features and scores have moved from those of training: population stability, by bins frozen then.

PSI is the sum over the bins of (live - trained) * ln(live / trained), with the shares of the rows (Siddiqi, Credit Risk
Scorecards, 2006): below 0.1 little has changed, above 0.25 one should act.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from features.catalogue import CATALOGUE
from features.codes import mixed
from features.session import FEATURES

BINS = 10
MOST_ROWS = 200_000
"""Of training, from which the bins are made."""
LEAST_ROWS = 1_000
"""Of a window: fewer say too little."""
MOST_PLACES = 10_000
"""The most frequent ones: what training saw more rarely counts as not seen."""
_LEAST_SHARE = 1e-4
"""Counts for a bin that nobody is in: the logarithm needs something."""
SCORE = "score"


@dataclass(frozen=True, slots=True)
class Bins:
    """The bins of one number, and the share of the trained rows in each.

    Attributes:
        edges: Rising; the first bin is below the first edge, the last one from the last edge on.
        shares: One more than edges, adding up to 1.
        neutral: The share of rows that had the neutral value.
    """

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    neutral: float

    @classmethod
    def of(cls, values: NDArray[np.float64], neutral: float) -> Self:
        """Cut at quantiles; equal ones are one edge, so that a number of few values has a bin for each.

        The first and the last bin are what training has never seen: below its least value, and above its largest.
        """
        inside = np.quantile(values, np.arange(1, BINS) / BINS)
        edges = np.unique([values.min(), *inside, np.nextafter(values.max(), np.inf)])
        shares = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1) / len(values)
        return cls(tuple(edges.tolist()), tuple(shares.tolist()), float((values == neutral).mean()))


@dataclass(frozen=True, slots=True)
class Drift:
    """What a window of live rows came to.

    Attributes:
        psi: By feature, and of the score under `SCORE`.
        neutral: By feature, the share of rows with the neutral value.
        unseen: The share of rows on a page that training has not seen, or of a type that it has not seen there.
    """

    psi: Mapping[str, float]
    neutral: Mapping[str, float]
    unseen: float


def place_codes(page: NDArray[np.uint64], event_type: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return a code for each page with the type of what happened there."""
    return mixed(page, event_type.astype(np.uint64))


def frozen(
    matrix: NDArray[np.float64], place: NDArray[np.uint64], score: NDArray[np.float64], seed: int
) -> dict[str, Any]:
    """Return what live rows are held against, fit for JSON: bins of every feature and of the score, and all places.

    Args:
        matrix: float64 (rows, features), of training.
        place: uint64, as `place_codes` gave them, of the same rows.
        score: float64, calibrated, of rows that the model was judged by.
        seed: Of which rows are taken for the bins, where there are very many.
    """
    dice = np.random.default_rng(seed)
    taken = dice.choice(len(matrix), MOST_ROWS, replace=False) if len(matrix) > MOST_ROWS else slice(None)
    rows = matrix[taken]
    bins = {name: Bins.of(rows[:, at], CATALOGUE[name].neutral) for at, name in enumerate(FEATURES)}
    bins[SCORE] = Bins.of(score, -1.0)
    codes, counts = np.unique(place, return_counts=True)
    often = np.sort(codes[np.argsort(-counts, kind="stable")[:MOST_PLACES]])
    return {
        "bins": {
            name: {"edges": list(one.edges), "shares": list(one.shares), "neutral": one.neutral}
            for name, one in bins.items()
        },
        "places": [f"{code:016x}" for code in often.tolist()],
    }


class Window:
    """Counts live rows by bin until somebody asks.

    Args:
        reference: As `frozen` gave it.
    """

    def __init__(self, reference: Mapping[str, Any]) -> None:
        self._bins = {
            name: Bins(tuple(one["edges"]), tuple(one["shares"]), one["neutral"])
            for name, one in reference["bins"].items()
        }
        self._places = np.array([int(code, 16) for code in reference["places"]], dtype=np.uint64)
        self._unseen = 0
        self._counts = {name: np.zeros(len(one.shares), dtype=np.int64) for name, one in self._bins.items()}
        self._neutral = dict.fromkeys(FEATURES, 0)
        self.rows = 0

    def add(self, matrix: NDArray[np.float64], place: NDArray[np.uint64], score: NDArray[np.float64]) -> None:
        """Count rows: float64 (rows, features), their places, and their calibrated scores."""
        self.rows += len(matrix)
        self._unseen += int(np.count_nonzero(~np.isin(place, self._places)))
        columns = {name: matrix[:, at] for at, name in enumerate(FEATURES)} | {SCORE: score}
        for name, values in columns.items():
            counts = self._counts[name]
            counts += np.bincount(np.searchsorted(self._bins[name].edges, values, side="right"), minlength=len(counts))
            if name != SCORE:
                self._neutral[name] += int(np.count_nonzero(values == CATALOGUE[name].neutral))

    def drift(self) -> Drift | None:
        """Return what the rows came to, None while they are too few."""
        if self.rows < LEAST_ROWS:
            return None
        psi = {name: psi_of(self._bins[name].shares, counts / self.rows) for name, counts in self._counts.items()}
        neutral = {name: count / self.rows for name, count in self._neutral.items()}
        return Drift(psi, neutral, self._unseen / self.rows)


def psi_of(trained: tuple[float, ...] | NDArray[np.float64], live: NDArray[np.float64]) -> float:
    """Return the population stability index of two rows of shares."""
    before, now = np.maximum(trained, _LEAST_SHARE), np.maximum(live, _LEAST_SHARE)
    return float(np.sum((now - before) * np.log(now / before)))
