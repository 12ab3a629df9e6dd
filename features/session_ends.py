"""Sessions that are over, and whose they were: what profiles learn from."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.events import EventColumns
from features.live_sessions import LiveSessions
from features.profile import STEPS, USUAL, SessionSummaries
from features.snapshot import pack, pack_strings, unpack, unpack_strings

_KIND, _ENDED_KIND = "session_ends", "ended_sessions"
_SUMMARY = "summary:"


@dataclass(frozen=True, slots=True)
class EndedSessions:
    """Sessions that are over, one an element of each."""

    session_ids: list[str]
    users: list[str]
    learned: SessionSummaries

    def __len__(self) -> int:
        return len(self.session_ids)

    def take(self, rows: NDArray[np.intp]) -> Self:
        """Return some of them."""
        picked = rows.tolist()
        ids, users = [self.session_ids[at] for at in picked], [self.users[at] for at in picked]
        return type(self)(ids, users, self.learned.take(rows))

    def joined(self, others: Self) -> Self:
        """Return them with others behind them."""
        columns = {
            name: np.concatenate([getattr(self.learned, name), getattr(others.learned, name)])
            for name in SessionSummaries.__slots__
        }
        return type(self)(self.session_ids + others.session_ids, self.users + others.users, SessionSummaries(**columns))

    def to_bytes(self) -> bytes:
        """Write them for a snapshot."""
        columns = {_SUMMARY + name: getattr(self.learned, name) for name in SessionSummaries.__slots__}
        return pack(_ENDED_KIND, columns | pack_strings(self.session_ids + self.users))

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """Read what `to_bytes` wrote.

        Raises:
            SnapshotError: If the bytes are something else.
        """
        columns = unpack(_ENDED_KIND, stored).columns
        texts = unpack_strings(columns)
        learned = SessionSummaries(**{name: columns[_SUMMARY + name] for name in SessionSummaries.__slots__})
        return cls(texts[: len(learned)], texts[len(learned) :], learned)

    @classmethod
    def none(cls) -> Self:
        """Return no sessions."""
        number, code = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint64)
        steps, usual = np.empty((0, 3, STEPS), dtype=np.int64), np.empty((0, len(USUAL)), dtype=np.int64)
        return cls([], [], SessionSummaries(steps, number, number, code, code, usual))


class SessionEnds:
    """The live sessions of one partition, by the rules of the fraud flow, and their users.

    Args:
        max_live: The most sessions kept.
        lateness_ms: How far behind the watermark a row may still come.
    """

    def __init__(self, max_live: int, lateness_ms: int) -> None:
        self._sessions = LiveSessions(max_live, lateness_ms)
        self._owner: dict[str, str] = {}
        self.ended_before_ms = 0
        """Every session whose latest event was before this has been returned."""

    def __len__(self) -> int:
        return len(self._sessions)

    def take(self, events: pl.DataFrame, columns: EventColumns, watermark_ms: int | None) -> EndedSessions:
        """Take a batch of admitted events in offset order; return the sessions that are over by then.

        A session whose user is not known is left out.
        """
        owners = events.select("session_id", "user_id").unique("session_id", keep="first", maintain_order=True)
        for session_id, user_id in owners.iter_rows():
            self._owner.setdefault(session_id, user_id)
        self._sessions.begin(events["session_id"].to_list(), columns, None)
        over = self._sessions.over(watermark_ms)
        summaries = self._sessions.summaries(over)
        self._sessions.sweep(watermark_ms)
        self.ended_before_ms = self._sessions.freed_before_ms
        users = [self._owner.pop(session_id, "") for session_id in over]
        known = np.array([at for at, user in enumerate(users) if user], dtype=np.intp)
        return EndedSessions(over, users, summaries).take(known)

    def snapshot(self) -> bytes:
        """Return the state as bytes."""
        table = np.frombuffer(self._sessions.snapshot(), dtype=np.uint8)
        owners = pack_strings([*self._owner, *self._owner.values()])
        return pack(_KIND, {"table": table, **owners}, {"ended_before_ms": self.ended_before_ms})

    def restore(self, stored: bytes) -> None:
        """Take over what a snapshot holds.

        Raises:
            SnapshotError: If the bytes are something else.
        """
        snapshot = unpack(_KIND, stored)
        texts = unpack_strings(snapshot.columns)
        half = len(texts) // 2
        self._owner = dict(zip(texts[:half], texts[half:], strict=True))
        self._sessions.restore(snapshot.columns["table"].tobytes())
        self.ended_before_ms = int(snapshot.scalars["ended_before_ms"])
