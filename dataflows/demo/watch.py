"""What the demo looks at, put together for the screen, and since when the stream runs."""

import time

from dataflows.demo.figures import Figures, Flag, History, PageTable
from dataflows.demo.readers import FlagReader, FlowPort, RedisReader
from dataflows.demo.view import Snapshot


class Watch:
    """Puts together what is to be shown.

    Args:
        port: The flow's.
        flags: Reads the flags topic.
        redis: Reads Redis.
        addresses: What one can look at.
    """

    def __init__(
        self, port: FlowPort, flags: FlagReader, redis: RedisReader, addresses: tuple[tuple[str, str], ...]
    ) -> None:
        self.port = port
        self.flags = flags
        self.redis = redis
        self.figures = Figures()
        """The last figures that were read."""
        self._addresses = addresses
        self._history = History()
        self._origin = time.monotonic()
        self._begun: float | None = None

    @property
    def seconds(self) -> float | None:
        """Seconds of stream so far; None before it has begun."""
        return None if self._begun is None else time.monotonic() - self._begun

    def begin(self) -> None:
        """Count the seconds of stream from now on; else they count from the first event that is scored."""
        self._begun = time.monotonic()

    def read(self) -> None:
        """Read the figures; those of before stay while the flow does not answer."""
        figures = self.port.figures()
        if figures is None:
            return
        self.figures = figures
        self._history.add(time.monotonic() - self._origin, figures)
        if self._begun is None and figures.scored:
            self.begin()

    def look(self, phase: str) -> tuple[Snapshot, list[Flag]]:
        """Look at everything: a snapshot, and the flags that are new in it."""
        self.read()
        new_flags = self.flags.poll()
        pages = self.redis.pages(self.figures.newest_event_seconds)
        return self._snapshot(phase, pages), new_flags

    def _snapshot(self, phase: str, pages: PageTable) -> Snapshot:
        return Snapshot(
            phase=phase,
            seconds=self.seconds or 0.0,
            figures=self.figures,
            events_per_second=self._history.events_per_second,
            latency=self._history.latency,
            flags=tuple(self.flags.newest),
            flag_count=self.flags.count,
            pages=pages,
            addresses=self._addresses,
        )

    @property
    def is_drained(self) -> bool:
        """Whether nothing is known to be on its way."""
        figures = self.figures
        return figures.lag == 0 and figures.in_flight == 0 and self.flags.received >= figures.flags_delivered
