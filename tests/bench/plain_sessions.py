"""The features of a session as a plain program would keep them: one object a session, one event at a time.

It is the yardstick of the benchmark and, beside a recount of pages, what its results are checked against. The fixed
work's model was trained on these features and knows no others, so a plain program need not compute more; the service
does. A test holds them to `tests.reference`. It knows neither late nor repeated events: the work has none.
"""

import math
from collections.abc import Mapping
from typing import Any

from features.session import FEATURES
from schemas.events import EVENT_TYPES

_CODES = {name: code for code, name in enumerate(EVENT_TYPES)}
_GAP_MS = 1_800_000
_NO_GAP_SECONDS = 100_000.0
COMPUTED = 21
_NOT_COMPUTED = (0.0,) * (len(FEATURES) - COMPUTED)
"""What the fixed work has no use for: the answers of stores, and the features that the service has gained since."""


class PlainSession:
    """Sums of one session."""

    __slots__ = (
        *("events", "types", "first", "latest", "gaps", "gap_squares", "gap_min", "latencies", "latency_max"),
        *("pages", "page", "repeats", "ip", "ip_changes", "device", "device_changes"),
    )

    def __init__(self, event: Mapping[str, Any]) -> None:
        self.events = self.gaps = self.gap_squares = self.latencies = self.latency_max = 0
        self.repeats = self.ip_changes = self.device_changes = 0
        self.types = [0] * len(EVENT_TYPES)
        self.first = self.latest = event["timestamp"]
        self.gap_min: int | None = None
        self.pages: set[str] = set()
        self.page = ""
        self.ip, self.device = event["ip"], event["device_fingerprint"]

    def is_over(self, timestamp: int) -> bool:
        """Whether an event at this time begins another session under the same name."""
        return bool(timestamp > self.latest + _GAP_MS)

    def update(self, event: Mapping[str, Any]) -> list[float]:
        """Take an event, return the features after it."""
        if self.events:
            gap = max(0, event["timestamp"] - self.latest)
            self.gaps += gap
            self.gap_squares += gap * gap
            self.gap_min = gap if self.gap_min is None else min(self.gap_min, gap)
            self.latest = max(self.latest, event["timestamp"])
            self.repeats += event["page"] == self.page
            self.ip_changes += event["ip"] != self.ip
            self.device_changes += event["device_fingerprint"] != self.device
        self.page, self.ip, self.device = event["page"], event["ip"], event["device_fingerprint"]
        self.pages.add(event["page"])
        self.events += 1
        self.types[_CODES[event["event_type"]]] += 1
        self.latencies += event["latency_ms"]
        self.latency_max = max(self.latency_max, event["latency_ms"])
        return self._features()

    def _features(self) -> list[float]:
        events, types = self.events, self.types
        gaps = max(events - 1, 1)
        mean = self.gaps / gaps
        seconds = (self.latest - self.first) / 1000
        return [
            events,
            *types[:6],
            seconds,
            mean / 1000,
            math.sqrt(max(self.gap_squares / gaps - mean * mean, 0.0)) / 1000,
            _NO_GAP_SECONDS if self.gap_min is None else self.gap_min / 1000,
            self.latencies / events,
            self.latency_max,
            len(self.pages),
            self.repeats,
            self.ip_changes,
            self.device_changes,
            types[4] / events,
            types[5] / events,
            types[2] / events,
            events / (1 + seconds),
            *_NOT_COMPUTED,
        ]


class PlainSessions:
    """All sessions, in a dictionary."""

    def __init__(self) -> None:
        self._sessions: dict[str, PlainSession] = {}

    def update(self, event: Mapping[str, Any]) -> tuple[PlainSession, list[float]]:
        """Take an event, return its session and the features after it."""
        session = self._sessions.get(event["session_id"])
        if session is None or session.is_over(event["timestamp"]):
            session = self._sessions[event["session_id"]] = PlainSession(event)
        return session, session.update(event)
