"""How far several partitions are together, for what is brought together from all of them."""

from collections.abc import Mapping

IDLE_MS = 7 * 24 * 3_600_000
"""A partition so far behind the foremost one has no events, and holds nobody up: for so long the topic keeps them."""


def lowest(watermarks_ms: Mapping[int, int]) -> int:
    """Return the moment that all partitions with events have passed, 0 before the first.

    Args:
        watermarks_ms: By partition.
    """
    foremost = max(watermarks_ms.values(), default=0)
    return min((each for each in watermarks_ms.values() if each > foremost - IDLE_MS), default=0)
