"""How far several partitions are together, for what is brought together from all of them."""

from collections.abc import Iterable

IDLE_MS = 7 * 24 * 3_600_000
"""A partition so far behind the foremost one has no events, and holds nobody up: for so long the topic keeps them."""


class Watermarks:
    """What was heard of each partition.

    Args:
        expected: Partitions that have events: all are at the beginning until each of them was heard of.
    """

    def __init__(self, expected: frozenset[int] = frozenset()) -> None:
        self._expected = expected
        self._ms: dict[int, int] = {}

    def note(self, partition: int, ms: int) -> None:
        """Note how far a partition is."""
        self._ms[partition] = max(ms, self._ms.get(partition, 0))

    @property
    def lowest_ms(self) -> int:
        """The moment that all partitions with events have passed, 0 while that is not known."""
        if not self._expected <= self._ms.keys():
            return 0
        foremost = max(self._ms.values(), default=0)
        return min((each for each in self._ms.values() if each > foremost - IDLE_MS), default=0)

    def to_json(self) -> list[tuple[int, int]]:
        """Return what was heard as JSON values."""
        return list(self._ms.items())

    def restore(self, stored: Iterable[tuple[int, int]]) -> None:
        """Take over what `to_json` gave."""
        self._ms = {int(partition): int(ms) for partition, ms in stored}
