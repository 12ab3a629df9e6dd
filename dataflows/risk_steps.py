"""The steps of the risk flow: each turns one kind of item into the next. What they compute is in `features`."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dataflows.connectors import store_keys
from dataflows.connectors.profile_store import ProfileStore
from dataflows.items import AdmittedBatch
from dataflows.risk_items import AllRead, Ended, Flagged, StatusChanged, Touched, Value, Values
from features.codes import code_of
from features.entities import (
    DEVICE,
    KEEP,
    LATENESS,
    MINUTE_MS,
    MOST_MEMBERS,
    SINCE,
    TYPED,
    USER,
    Known,
    device_risk,
    known,
    observe,
)
from features.facts import FactTable
from features.learning import Learning, learn
from features.session_ends import EndedSessions, SessionEnds
from features.snapshot import pack, unpack
from features.watermarks import Watermarks
from observability import metrics

SHARDS = 16
"""Fixed: which shard an entity belongs to is part of the state."""
MOST_FACTS = 4_000_000
"""Of all shards: some 130 MB. Beyond it the entities that were not seen for longest make room."""
ACTIVE = "active"
_AT_ONCE = 1_000
_HOUR_SECONDS = 3_600

Keyed = tuple[str, Any]


def shard_of_user(user_id: str) -> str:
    """Return the engine's key for a user."""
    return str(code_of(user_id) % SHARDS)


def observe_entities(items: Sequence[tuple[str, AdmittedBatch]]) -> list[Keyed]:
    """Tell every shard what its entities were seen doing."""
    told: list[Keyed] = []
    for _, batch in items:
        if batch.events.height:
            for shard, observed in observe(batch.events, batch.columns).split(SHARDS):
                told.append((str(shard), Touched(batch.partition, batch.watermark_ms or 0, observed)))
    return told


class EntityState:
    """What one shard knows, and how far the partitions are.

    Args:
        expected: Partitions that have events: nothing is forgotten before each of them was heard of.
    """

    def __init__(self, expected: frozenset[int] = frozenset()) -> None:
        self.facts = FactTable(KEEP, MOST_MEMBERS)
        self.watermarks = Watermarks(expected)

    def snapshot(self) -> bytes:
        """Return the state as bytes."""
        facts = np.frombuffer(self.facts.snapshot(), dtype=np.uint8)
        return pack("entities", {"facts": facts}, {"watermarks_ms": self.watermarks.to_json()})

    def restore(self, stored: bytes) -> None:
        """Take over what a snapshot holds; raises `SnapshotError` if the bytes are something else."""
        snapshot = unpack("entities", stored)
        self.facts.restore(snapshot.columns["facts"].tobytes())
        self.watermarks.restore(snapshot.scalars["watermarks_ms"])


@dataclass(frozen=True, slots=True)
class UpdateEntities:
    """Facts of a batch to what the store is to hold of the entities in it.

    Attributes:
        lateness_ms: How far behind the watermark an event may be.
        state: Of the shard.
    """

    lateness_ms: int
    state: EntityState

    def __call__(self, touched: Touched) -> Values:
        """Take note of a batch."""
        state = self.state
        state.watermarks.note(touched.partition, touched.watermark_ms)
        longer = max(self.lateness_ms // MINUTE_MS - LATENESS, 0)
        state.facts.add(touched.observed.facts, state.watermarks.lowest_ms // MINUTE_MS - longer)
        facts = state.facts.of(touched.observed.entities)
        metrics.ENTITIES_EVICTED.inc(state.facts.evict(MOST_FACTS // SHARDS))
        return dict(value for each in known(facts, touched.observed) for value in values_of(each))


def values_of(entity: Known) -> Iterable[tuple[str, Value]]:
    """Yield what Redis is to hold of an entity: nothing where it is neutral, so that a look-up finds nothing."""
    if entity.kind == DEVICE:
        risk = device_risk(entity.users, entity.sessions, entity.failures)
        yield store_keys.DEVICE_RISK.format(entity.name), Value(f"{risk:g}" if risk else None, 24 * _HOUR_SECONDS)
    elif entity.kind == USER:
        failures = str(entity.failures) if entity.failures else None
        yield store_keys.LOGIN_FAILURES.format(entity.name), Value(failures, 2 * _HOUR_SECONDS)
    elif entity.kind == TYPED:
        yield store_keys.INPUT.format(entity.name), Value(entity.as_input().as_text(), SINCE * MINUTE_MS // 1000)


@dataclass(slots=True)
class EndSessions:
    """Events to the sessions that they show to be over."""

    state: SessionEnds
    _told_ms: int = -1

    def __call__(self, admitted: AdmittedBatch) -> Ended:
        """Give a batch to its sessions."""
        sessions = self.state.take(admitted.events, admitted.columns, admitted.watermark_ms)
        metrics.LIVE_SESSIONS.labels(str(admitted.partition)).set(len(self.state))
        ended_before_ms = self.state.ended_before_ms
        is_news, self._told_ms = ended_before_ms > self._told_ms, ended_before_ms
        return Ended(admitted.partition, ended_before_ms, is_news, sessions)


def by_user(items: Sequence[tuple[str, Ended]]) -> list[Keyed]:
    """Tell every shard the sessions of its users that are over, and that it has been told all up to a moment."""
    told: list[Keyed] = []
    for _, ended in items:
        rows: dict[str, list[int]] = defaultdict(list)
        for at, user in enumerate(ended.sessions.users):
            rows[shard_of_user(user)].append(at)
        shards = map(str, range(SHARDS)) if ended.is_news else rows
        for shard in shards:
            mine = ended.sessions.take(np.array(rows.get(shard, []), dtype=np.intp))
            told.append((shard, replace(ended, sessions=mine)))
    return told


def statuses_by_user(items: Sequence[StatusChanged | AllRead]) -> list[Keyed]:
    """Turn changes of accounts into what Redis is to hold: nothing of those that are active."""
    return [
        (
            shard_of_user(item.user_id),
            {store_keys.ACCOUNT_STATUS.format(item.user_id): Value(None if item.status == ACTIVE else item.status)},
        )
        for item in items
        if isinstance(item, StatusChanged)
    ]


def flags_by_user(items: Sequence[Flagged | AllRead]) -> list[Keyed]:
    """Tell a shard the flags of its users, and every shard that all old flags have been read."""
    told: list[Keyed] = []
    for item in items:
        shards = [shard_of_user(item.user_id)] if isinstance(item, Flagged) else map(str, range(SHARDS))
        told += [(shard, item) for shard in shards]
    return told


@dataclass(slots=True)
class LearnProfiles:
    """Sessions that are over to profiles that know them.

    Nothing is learned in a process before it has read the flags that were there when it started: a session's own may
    be among them.
    """

    store: ProfileStore
    state: Learning
    _unread: set[int] | None = None
    """Partitions of the flags topic; None before the first was heard of."""

    def __call__(self, item: Ended | Flagged | AllRead) -> int:
        """Take note of a flag, or learn from what is due; return how many sessions were learned from."""
        if isinstance(item, Flagged):
            self.state.flag(item.session_id, item.at_ms)
            return 0
        if isinstance(item, AllRead):
            self._unread = (set(range(item.of)) if self._unread is None else self._unread) - {item.partition}
        else:
            dropped = self.state.add(item.partition, item.ended_before_ms, item.sessions)
            metrics.SESSIONS_UNLEARNED.inc(dropped)
        return 0 if self.store.rests or self._unread is None or self._unread else self._learn_due()

    def _learn_due(self) -> int:
        due = self.state.due()
        for start in range(0, len(due), _AT_ONCE):
            if not self._learn(due.take(np.arange(start, min(start + _AT_ONCE, len(due))))):
                return 0
        self.state.learned()
        metrics.SESSIONS_LEARNED.inc(len(due))
        return len(due)

    def _learn(self, sessions: EndedSessions) -> bool:
        stored = self.store.read(list(dict.fromkeys(sessions.users)))
        return stored is not None and self.store.write(learn(stored, sessions))
