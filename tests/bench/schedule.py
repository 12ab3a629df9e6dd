"""When each event of an open load is meant to be sent, whatever becomes of those before it.

Delays are measured from these times, not from when the generator got around to it: a stall of the generator, or of
anything that holds it up, counts in full for every event that it delays.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """A steady load.

    Attributes:
        start: When the first event is meant to be sent, seconds since 1970.
        rate: Events a second.
        count: How many.
    """

    start: float
    rate: float
    count: int

    def due(self, now: float) -> int:
        """Return how many events are to have been sent by a time."""
        if now < self.start:
            return 0
        return min(int((now - self.start) * self.rate) + 1, self.count)

    def at(self, place: int) -> float:
        """Return when the event at a place is meant to be sent."""
        return self.start + place / self.rate

    @property
    def end(self) -> float:
        """When the last one is meant to be sent."""
        return self.at(self.count - 1)
