"""Quantiles of delays, where one that never ended is as long as can be, and of histograms that were read twice."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of all values does not exceed (nearest rank).

    Args:
        ordered: In rising order, one or more.
        share: Above 0, at most 1.
    """
    return ordered[max(math.ceil(share * len(ordered) - 1e-9), 1) - 1]


def summary(delays_ms: Sequence[float], missing: int = 0) -> dict[str, float | None]:
    """Return the quantiles of delays in ms; None where it is one that never ended, or there is none at all.

    Args:
        delays_ms: Of what came.
        missing: How many did not come.
    """
    ordered = [*sorted(delays_ms), *[math.inf] * missing]
    found = {name: quantile(ordered, share) if ordered else math.inf for name, share in QUANTILES.items()}
    return {name: round(value, 1) if math.isfinite(value) else None for name, value in found.items()}


def median_of(runs: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """Return the median of each quantile over several runs; a run without it counts as the worst."""
    found = {name: median([math.inf if run[name] is None else run[name] or 0.0 for run in runs]) for name in QUANTILES}
    return {name: value if math.isfinite(value) else None for name, value in found.items()}


def since(earlier: Mapping[float, float], later: Mapping[float, float]) -> dict[float, float]:
    """Return what a histogram counted between two readings of its cumulative counts by upper bound."""
    return {bound: count - earlier[bound] for bound, count in later.items()}


def bucket_quantile(counts: Mapping[float, float], share: float) -> float | None:
    """Estimate a quantile from a histogram, taking the values of a bucket as evenly spread over it.

    Args:
        counts: How many values do not exceed each upper bound, in the unit of the values; infinity is one of them.
        share: Above 0, at most 1.

    Returns:
        The quantile; None where it lies above the last finite bound, or there are no values.

    >>> bucket_quantile({1.0: 50, 2.0: 100, math.inf: 100}, 0.75)
    1.5
    """
    wanted = share * counts[math.inf]
    rising = [(0.0, 0.0), *sorted(counts.items())]
    for (low, below), (high, up_to) in pairwise(rising):
        if below < up_to >= wanted:
            return low + (high - low) * (wanted - below) / (up_to - below) if math.isfinite(high) else None
    return None
