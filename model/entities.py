"""What the stores would have known of an event's device, user and input when it came, from a stored stream.

The risk flow's counts (`features/entities.py`), as of just before each event: windows of whole minutes, the same
formula for the risk. Written for one pass over weeks, record by record; a test holds it against the risk flow's own.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import polars as pl

from features.entities import DAY, HOUR, MINUTE_MS, MOST_MEMBERS, PERIOD, SINCE, device_risk
from features.inputs import NEWEST, KnownInput, user_code
from schemas.events import LOGIN_FAILED


@dataclass(slots=True)
class _Recent:
    """Members that were seen within some minutes, who was seen last comes last.

    Attributes:
        within: The minutes.
        last: By member, when it was last seen.
    """

    within: int
    last: dict[str, int] = field(default_factory=dict)

    def at(self, minute: int) -> dict[str, int]:
        """Forget who is too long ago, and return the others."""
        gone = []
        for member, seen in self.last.items():
            if minute - seen < self.within:
                break
            gone.append(member)
        for member in gone:
            del self.last[member]
        return self.last

    def add(self, member: str, minute: int) -> None:
        """Note that a member is seen."""
        self.last.pop(member, None)
        self.last[member] = minute


@dataclass(slots=True)
class _Failures:
    """Failed logins by minute, within an hour."""

    by_minute: dict[int, int] = field(default_factory=dict)

    def at(self, minute: int) -> int:
        """Return how many there were."""
        for seen in [seen for seen in self.by_minute if minute - seen >= HOUR]:
            del self.by_minute[seen]
        return min(sum(self.by_minute.values()), MOST_MEMBERS)

    def add(self, minute: int) -> None:
        """Count one more."""
        self.by_minute[minute] = self.by_minute.get(minute, 0) + 1


@dataclass(slots=True)
class _Device:
    """What is known of a device."""

    users: _Recent = field(default_factory=lambda: _Recent(DAY))
    sessions: _Recent = field(default_factory=lambda: _Recent(HOUR))
    failures: _Failures = field(default_factory=_Failures)

    def risk_at(self, minute: int) -> float:
        """Return its risk."""
        users, sessions = len(self.users.at(minute)), len(self.sessions.at(minute))
        return device_risk(min(users, MOST_MEMBERS), min(sessions, MOST_MEMBERS), self.failures.at(minute))

    def add(self, user: str, session: str, minute: int, *, is_failure: bool) -> None:
        """Note an event."""
        self.users.add(user, minute)
        self.sessions.add(session, minute)
        if is_failure:
            self.failures.add(minute)


@dataclass(slots=True)
class _Input:
    """What is known of a masked input: its users, and by period in which it was typed the first and the last minute."""

    users: _Recent = field(default_factory=lambda: _Recent(DAY))
    periods: dict[int, tuple[int, int]] = field(default_factory=dict)

    def at(self, minute: int) -> KnownInput:
        """Return what is known."""
        for period in [period for period, (_, last) in self.periods.items() if minute - last >= SINCE]:
            del self.periods[period]
        users = self.users.at(minute)
        newest = tuple(user_code(user) for user in islice(reversed(users), NEWEST))
        first = min((first for first, _ in self.periods.values()), default=0)
        return KnownInput(first * MINUTE_MS, min(len(users), MOST_MEMBERS), newest)

    def add(self, user: str, minute: int) -> None:
        """Note that a user types it."""
        self.users.add(user, minute)
        first, last = self.periods.get(minute // PERIOD, (minute, minute))
        self.periods[minute // PERIOD] = (min(first, minute), max(last, minute))


def with_entities(frame: pl.DataFrame) -> pl.DataFrame:
    """Add what was known of devices, users and inputs when each event came.

    Args:
        frame: Events in stream order, columns of `EVENT_FRAME`.

    Returns:
        The frame with `device_risk`, `recent_failures`, `input_others` and `input_since_ms` of `EventColumns`.
    """
    known = np.zeros((4, frame.height))
    devices: dict[str, _Device] = defaultdict(_Device)
    failures: dict[str, _Failures] = defaultdict(_Failures)
    inputs: dict[str, _Input] = defaultdict(_Input)
    rows = frame.select(
        *("device_fingerprint", "user_id", "session_id", "input_hash"),
        pl.col("event_type") == LOGIN_FAILED,
        pl.col("timestamp") // MINUTE_MS,
    ).iter_rows()
    for at, (device, user, session, text, is_failure, minute) in enumerate(rows):
        if device:
            known[0, at] = devices[device].risk_at(minute)
            devices[device].add(user, session, minute, is_failure=is_failure)
        if user in failures:
            known[1, at] = failures[user].at(minute)
        if user and is_failure:
            failures[user].add(minute)
        if text:
            typed = inputs[text].at(minute)
            known[2:, at] = typed.others_than(user), typed.since_ms
            inputs[text].add(user, minute)
    names = ("device_risk", "recent_failures", "input_others", "input_since_ms")
    return frame.with_columns(pl.Series(name, column) for name, column in zip(names, known, strict=True))
