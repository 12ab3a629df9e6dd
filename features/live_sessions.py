"""The live sessions of one partition: rows in, features out, the state kept, freed, written and read back.

Training, backtests and explanations use this very class with an empty table, so that an offline vector is the live
one to the bit.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.events import EventColumns
from features.joined_tables import JoinedTables
from features.pages import with_normal_pages
from features.profile import STEPS, USUAL, USUAL_PARTS, SessionSummaries
from features.running import NEVER_MS, Running
from features.session import FEATURES, SESSION_GAP_MS, matrix_of, session_features
from features.session_table import SessionTable

DEFAULT_LATENESS_MS = 60 * 60_000
OFFLINE_BATCH = 50_000
_SWEEP_MS = 60_000


class Instance(NamedTuple):
    """One instance of a session: flags and their levels belong to it."""

    session_id: str
    first_ms: int
    """Timestamp of the instance's first row in offset order."""


@dataclass(frozen=True, slots=True)
class SessionRows:
    """The features of a batch, one row an event, in the order of the batch.

    Attributes:
        session_ids: The session of each row.
        matrix: float64 (events, features), columns in the order of `FEATURES`.
        first_ms: int64, the timestamp of each row's instance's first event.
        first_offset: int64, that event's offset.
        partial: bool, true where the instance began before one of today's features existed.
        newest: The last row of each session in this batch, ascending.
        freed: Sessions that are not live any more. They may have had rows in this batch.
        evicted: How many of them had to make room.
    """

    session_ids: list[str]
    matrix: NDArray[np.float64]
    first_ms: NDArray[np.int64]
    first_offset: NDArray[np.int64]
    partial: NDArray[np.bool_]
    newest: NDArray[np.intp]
    freed: list[str]
    evicted: int
    _running: Running
    _grouped_at: NDArray[np.intp]

    def state_before(self, row: int) -> bytes:
        """Return the integers that the row's instance carried just before it; see `vector_after`."""
        return self._running.state_before(int(self._grouped_at[row]))

    def instance(self, row: int) -> Instance:
        """Return the instance that a row belongs to."""
        return Instance(self.session_ids[row], int(self.first_ms[row]))


class LiveSessions:
    """The session table of one partition, and the rules by which instances end.

    Args:
        max_live: The most instances kept; beyond it the oldest are evicted, which costs exactness and is counted.
        lateness_ms: How far behind the watermark a row may still come.
    """

    def __init__(self, max_live: int = 1_000_000, lateness_ms: int = DEFAULT_LATENESS_MS) -> None:
        self.max_live = max_live
        self.lateness_ms = lateness_ms
        self.evicted = 0
        self._swept_ms: int | None = None
        self.table = SessionTable()
        self.waiting: deque[Update] = deque()
        """Batches that are not computed yet, in their order."""
        self.update(_NOBODY, None)  # the features declare the columns that they carry

    def __len__(self) -> int:
        return len(self.table)

    @property
    def state_bytes(self) -> int:
        """Bytes of the state in memory."""
        return self.table.state_bytes

    def update(self, events: pl.DataFrame, watermark_ms: int | None) -> SessionRows:
        """Take a batch of admitted events in offset order, and compute the features after each.

        Args:
            events: Event frame with normalised pages, and the columns of `EventColumns.from_frame`.
            watermark_ms: The partition's watermark after the batch, None while there is none.
        """
        return self.begin(events["session_id"].to_list(), EventColumns.from_frame(events), watermark_ms).rows

    def begin(self, session_ids: list[str], events: EventColumns, watermark_ms: int | None) -> "Update":
        """Take a batch that is computed when its rows, or the state after it, are asked for.

        Args:
            session_ids: The session of each event.
            events: Admitted events in offset order.
            watermark_ms: The partition's watermark after the batch, None while there is none.
        """
        update = Update(self, session_ids, events, watermark_ms)
        self.waiting.append(update)
        return update

    def settle(self) -> None:
        """Compute what waits."""
        settle([self])

    def sweep(self, watermark_ms: int | None) -> list[str]:
        """Free the sessions whose instance no admitted row can join, and evict the oldest of too many.

        Freeing only saves memory: a row that could have joined would be late. So it may wait for a whole minute of
        event time, and costs next to nothing.
        """
        freed: list[str] = []
        if self._is_due(watermark_ms):
            freed += self.table.free(self._over(watermark_ms))
            self._swept_ms = watermark_ms
        too_many = len(self.table) - self.max_live
        if too_many > 0:
            freed += self.table.free(self._oldest(too_many))
            self.evicted += too_many
        return freed

    def over(self, watermark_ms: int | None) -> list[str]:
        """Return the sessions that a sweep would free now because they are over."""
        self.settle()
        slots = self._over(watermark_ms).tolist() if self._is_due(watermark_ms) else []
        return [session_id for slot in slots if (session_id := self.table.session_ids[slot]) is not None]

    def _is_due(self, watermark_ms: int | None) -> TypeGuard[int]:
        return watermark_ms is not None and (self._swept_ms is None or watermark_ms >= self._swept_ms + _SWEEP_MS)

    def _over(self, watermark_ms: int) -> NDArray[np.intp]:
        latest_ms = self.table.used("latest_ms")
        over_ms = watermark_ms - SESSION_GAP_MS - self.lateness_ms
        return np.flatnonzero((latest_ms > NEVER_MS) & (latest_ms < over_ms))

    @property
    def freed_before_ms(self) -> int:
        """Sessions whose latest event was before this have been freed; 0 before the first sweep."""
        return 0 if self._swept_ms is None else self._swept_ms - SESSION_GAP_MS - self.lateness_ms

    def _oldest(self, count: int) -> NDArray[np.int64]:
        """Return the slots of the sessions that had no event for longest; of equally old ones, the first by name."""
        latest_ms = self.table.used("latest_ms")
        live = np.flatnonzero(latest_ms > NEVER_MS)
        bound = np.partition(latest_ms[live], count - 1)[count - 1]
        older = live[latest_ms[live] < bound]
        as_old = sorted(live[latest_ms[live] == bound].tolist(), key=self.table.session_ids.__getitem__)
        return np.concatenate([older, as_old[: count - len(older)]])

    def snapshot(self, part: int = 0, of: int = 1) -> bytes:
        """Write one of `of` parts of the state as bytes, and what has changed since the last one was written."""
        self.settle()
        return self.table.snapshot(part, of)

    def restore(self, *stored: bytes) -> None:
        """Take over the state of as many snapshots as have all parts, the oldest first.

        Sessions that lack a column of today are marked partial from now on.

        Raises:
            SnapshotError: If the bytes are something else.
        """
        lacking = self.table.restore(*stored)
        self.table.columns["partial"][lacking] = 1

    def summaries(self, session_ids: Sequence[str]) -> SessionSummaries:
        """Return what a profile learns of some live sessions: of the newest instance of each."""
        self.settle()
        slots = np.array([self.table.slots[session_id] for session_id in session_ids], dtype=np.intp)
        carried = {name: column[slots] for name, column in self.table.columns.items()}
        return SessionSummaries(
            steps=carried["steps"].reshape(len(slots), carried["steps"].shape[1] // STEPS, STEPS).astype(np.int64),
            first_ms=carried["first_ms"],
            latest_ms=carried["latest_ms"],
            device=carried["device"],
            ip=carried["ip"],
            usual=_usual(carried),
        )

    def put(self, session_id: str, state: bytes) -> None:
        """Give a session what `SessionRows.state_before` returned.

        Raises:
            StateError: If it is of another feature set.
        """
        self.table.put_row(session_id, state)


@dataclass(slots=True)
class Update:
    """A batch of one partition, on its way through the features."""

    sessions: LiveSessions
    session_ids: list[str]
    events: EventColumns
    watermark_ms: int | None
    computed: SessionRows | None = None

    @property
    def rows(self) -> SessionRows:
        """The features after each event."""
        while self.computed is None:
            self.sessions.settle()
        return self.computed


def settle(partitions: Iterable[LiveSessions]) -> None:
    """Compute what waits in several partitions: together, and each partition's own batches in their order."""
    left = [sessions for sessions in dict.fromkeys(partitions) if sessions.waiting]
    while left:
        _compute([sessions.waiting.popleft() for sessions in left])
        left = [sessions for sessions in left if sessions.waiting]


def _compute(updates: Sequence[Update]) -> None:
    """Compute one batch of each of some partitions, as one batch of joined tables."""
    tables = JoinedTables([update.sessions.table for update in updates])
    ids = [update.session_ids for update in updates]
    slots = tables.slots_of(ids)
    apart = sum(len(set(each)) for each in ids) == len(slots)
    order = np.arange(len(slots)) if apart else np.argsort(slots, kind="stable")
    grouped_at = np.empty_like(order)
    grouped_at[order] = np.arange(len(order))
    grouped = EventColumns.joined([update.events for update in updates]).take(order)

    running = Running.over(tables, slots[order], grouped.timestamp_ms, SESSION_GAP_MS, apart=apart)
    matrix = matrix_of(session_features(grouped, running))[grouped_at]
    firsts = running.firsts(first_offset=grouped.offset, partial=np.zeros(len(slots), dtype=np.int64))
    first_ms = running.after("first_ms")[grouped_at]
    running.hand_back()
    first_offset, partial = firsts["first_offset"][grouped_at], firsts["partial"][grouped_at] != 0
    newest = np.sort(order[running.segments.last_row])
    ends = np.cumsum([0, *map(len, ids)]).tolist()
    for at, update in enumerate(updates):
        mine = slice(ends[at], ends[at + 1])
        first, end = np.searchsorted(newest, [mine.start, mine.stop]).tolist()
        evicted, freed = update.sessions.evicted, update.sessions.sweep(update.watermark_ms)
        update.computed = SessionRows(
            session_ids=update.session_ids,
            matrix=matrix[mine],
            first_ms=first_ms[mine],
            first_offset=first_offset[mine],
            partial=partial[mine],
            newest=newest[first:end] - mine.start,
            freed=freed,
            evicted=update.sessions.evicted - evicted,
            _running=running,
            _grouped_at=grouped_at[mine],
        )


def features_of(events: pl.DataFrame) -> NDArray[np.float64]:
    """Compute the features of a stored stream, as the live flow would have: float64 (events, features).

    Args:
        events: One partition's admitted events in offset order, pages as received.
    """
    sessions = LiveSessions(max_live=events.height + 1)
    normal = with_normal_pages(events)
    batches = [sessions.update(part, None).matrix for part in normal.iter_slices(OFFLINE_BATCH)]
    return np.concatenate([np.empty((0, len(FEATURES))), *batches])


def vector_after(state_before: bytes, event: pl.DataFrame) -> NDArray[np.float64]:
    """Compute one event's feature vector again from what its session carried before it: equal to the bit.

    Args:
        state_before: From the flag.
        event: The triggering event, one row, with the answers of the stores as the flag recorded them.
    """
    sessions = LiveSessions()
    sessions.put(event["session_id"][0], state_before)
    vector: NDArray[np.float64] = sessions.update(with_normal_pages(event), None).matrix[0]
    return vector


def _usual(carried: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Return the features of `features.profile.USUAL` of sessions, in their order, from what they carry."""
    events = np.maximum(carried["events"], 1)
    values = {
        "session_events": carried["events"] * USUAL_PARTS,
        "session_inputs": carried["inputs"] * USUAL_PARTS,
        "session_login_failures": carried["login_failures"] * USUAL_PARTS,
        "session_transfers": carried["transfers"] * USUAL_PARTS,
        "session_distinct_pages": np.count_nonzero(carried["pages"], axis=1) * USUAL_PARTS,
        "session_duration_seconds": (carried["latest_ms"] - carried["first_ms"]) * USUAL_PARTS // 1000,
        "session_gap_mean_seconds": carried["gap_ms"] * USUAL_PARTS // 1000 // np.maximum(events - 1, 1),
        "session_latency_mean_ms": carried["latency_ms"] * USUAL_PARTS // events,
    }
    return np.stack([np.maximum(values[name], 0) for name in USUAL], axis=1)


_NOBODY = pl.DataFrame(
    schema={
        "session_id": pl.String,
        "event_id": pl.String,
        "event_type": pl.UInt8,
        "page": pl.String,
        "timestamp": pl.Int64,
        "latency_ms": pl.Int64,
        "device_fingerprint": pl.String,
        "ip": pl.String,
    }
)
