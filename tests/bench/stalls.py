"""What kept the worker from new records in a run, by cause: from the service's own `fraud_stall_seconds`."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tests.bench.world import Lane

_NAME = "fraud_stall_seconds"
_CAUSE, _BOUND = re.compile(r'cause="([a-z]+)"'), re.compile(r'le="([^"]+)"')

Stalls = dict[str, dict[str, Any]]
"""By cause: `count`, `ms` (all of them together), and `longest_ms`, the upper bound of the longest one's bucket."""


def noted(services: Iterable[Lane]) -> dict[str, float]:
    """Return the samples of the histogram, summed over lanes."""
    total: dict[str, float] = {}
    for service in services:
        for part in ("bucket", "count", "sum"):
            for labels, value in service.samples(f"{_NAME}_{part}").items():
                total[part + labels] = total.get(part + labels, 0.0) + value
    return total


def stalls_since(before: Mapping[str, float], after: Mapping[str, float]) -> Stalls:
    """Return the stalls between two readings of `noted`, of the causes that had one."""
    added = {sample: value - before.get(sample, 0.0) for sample, value in after.items()}
    causes = {found[1] for sample in added if (found := _CAUSE.search(sample))}
    return {cause: one for cause in sorted(causes) if (one := _of_cause(cause, added))["count"]}


def _of_cause(cause: str, added: Mapping[str, float]) -> dict[str, Any]:
    mine = {sample: value for sample, value in added.items() if f'cause="{cause}"' in sample}
    count = round(sum(value for sample, value in mine.items() if sample.startswith("count")))
    seconds = sum(value for sample, value in mine.items() if sample.startswith("sum"))
    buckets = {float(found[1]): value for sample, value in mine.items() if (found := _BOUND.search(sample))}
    bounds = [bound for bound, value in sorted(buckets.items()) if value >= count]
    longest = round(bounds[0] * 1000) if bounds and bounds[0] < float("inf") else None
    return {"count": count, "ms": round(seconds * 1000), "longest_ms": longest}


def together(runs: Iterable[Stalls]) -> Stalls:
    """Add up the stalls of several runs."""
    total: Stalls = {}
    for run in runs:
        for cause, one in run.items():
            known = total.setdefault(cause, {"count": 0, "ms": 0, "longest_ms": 0})
            longest = (known["longest_ms"], one["longest_ms"])
            known["longest_ms"] = None if None in longest else max(longest)
            known["count"] += one["count"]
            known["ms"] += one["ms"]
    return total
