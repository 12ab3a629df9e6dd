"""What a recovery store keeps of a state that is written in parts."""

from dataclasses import dataclass, field

from dataflows.partition_pieces import StateInPieces


@dataclass(slots=True)
class Kept:
    """The last snapshot of each part."""

    parts: int
    snapshots: int = 0
    stored: dict[int, bytes] = field(default_factory=dict)

    def take(self, state: StateInPieces) -> None:
        """Take the next snapshot."""
        part = self.snapshots % self.parts
        self.stored.pop(part, None)
        self.stored[part] = state.snapshot(part, self.parts)
        self.snapshots += 1

    def in_order(self) -> list[bytes]:
        """Return what is kept, the oldest first."""
        return list(self.stored.values())
