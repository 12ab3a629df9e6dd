"""Quantiles of delays, where one that never ended is as long as can be."""

import math
from collections.abc import Sequence
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
