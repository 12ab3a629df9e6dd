"""What is known of devices, users and inputs from the events of all sessions: the risk flow's arithmetic.

Each event is a handful of facts (`features/facts.py`). After a batch, what the store is to hold of each entity that
it touched is computed from that entity's facts, as of the latest minute in which it was seen. So the store ends with
the same values in whatever order the events came.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.codes import mixed, string_codes
from features.events import EventColumns
from features.facts import Facts
from features.inputs import NEWEST, KnownInput
from schemas.events import INPUT, LOGIN_FAILED

DEVICE, USER, TYPED = "device", "user", "input"
KINDS = (DEVICE, USER, TYPED)

USERS, SESSIONS, FAILURES, PERIODS, DEVICES = range(5)
"""Relations. Members are codes of users, sessions and devices; of `FAILURES` minutes; of `PERIODS` which ten days."""

MINUTE_MS = 60_000
HOUR, DAY = 60, 24 * 60
LATENESS = 60
"""Minutes that an event may be late."""
MOST_MEMBERS = 256
"""Of one entity in one relation: more say no more."""
PERIOD, SINCE = 10 * DAY, 60 * DAY
"""For so long an input is known by its first minute in each period: longer than a mule lasts, and few facts."""
KEEP = {
    USERS: DAY + LATENESS,
    SESSIONS: HOUR + LATENESS,
    FAILURES: HOUR + LATENESS,
    PERIODS: SINCE + LATENESS,
    DEVICES: DAY + LATENESS,
}
"""For how long facts count, in minutes, and the lateness besides."""


class Known(NamedTuple):
    """What is known of one entity, as of the latest minute in which it was seen.

    Attributes:
        kind: One of `KINDS`.
        name: Its own, as events have it.
        users: Different users in 24 h.
        newest_users: Codes (32 bits) of the newest of them, newest first, for inputs.
        sessions: Different sessions in an hour, for devices.
        failures: Failed logins in an hour; this and all other counts end at `MOST_MEMBERS`.
        since_ms: The first time in 60 days, for inputs.
    """

    kind: str
    name: str
    users: int
    newest_users: tuple[int, ...]
    sessions: int
    failures: int
    since_ms: int

    def as_input(self) -> KnownInput:
        """Return it as the store holds it of an input."""
        return KnownInput(self.since_ms, self.users, self.newest_users)


def device_risk(users: int, sessions: int, failures: int) -> float:
    """Return the risk of a device, 0 to 1, in steps of a thousandth.

    One minus the product of what speaks for it: each sign takes away a share of the trust, the larger the more. A
    household shares a device, and people forget passwords: little of either is nothing.

    Args:
        users: Different users in 24 h.
        sessions: Different sessions in an hour.
        failures: Failed logins in an hour.
    """
    trust = 1.0
    for count, usual, much, weight in ((users, 3, 20, 0.8), (sessions, 6, 30, 0.5), (failures, 4, 24, 0.7)):
        trust *= 1 - weight * min(max(count - usual, 0) / (much - usual), 1.0)
    return round(1 - trust, 3)


@dataclass(frozen=True, slots=True)
class Observed:
    """What a batch says of entities.

    Attributes:
        facts: Of all of them.
        entities: uint64 codes, rising, each once.
        kinds: Of each, one of `KINDS`.
        names: Of each.
    """

    facts: Facts
    entities: NDArray[np.uint64]
    kinds: list[str]
    names: list[str]

    def split(self, shards: int) -> Iterator[tuple[int, "Observed"]]:
        """Yield what each shard has to know: an entity belongs to one."""
        shard_of_fact = self.facts.entity % np.uint64(shards)
        shard_of = self.entities % np.uint64(shards)
        for shard in np.unique(shard_of).tolist():
            mine = np.flatnonzero(shard_of == shard).tolist()
            yield (
                int(shard),
                Observed(
                    self.facts.take(shard_of_fact == shard),
                    self.entities[mine],
                    [self.kinds[at] for at in mine],
                    [self.names[at] for at in mine],
                ),
            )


def entity_code(kind: str, codes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the codes of entities of a kind, from those of their names."""
    return mixed(np.full(len(codes), KINDS.index(kind) + 1, dtype=np.uint64), codes)


def observe(frame: pl.DataFrame, columns: EventColumns) -> Observed:
    """Return what a batch of admitted events says.

    Args:
        frame: The events.
        columns: Their numbers.
    """
    user, text = string_codes(frame, "user_id", "input_hash")
    minute = (columns.timestamp_ms // MINUTE_MS).astype(np.uint32)
    rows = {
        DEVICE: np.flatnonzero(columns.device),
        USER: np.flatnonzero(user),
        TYPED: np.flatnonzero((columns.type == INPUT) & (text != 0)),
    }
    names = {DEVICE: columns.device, USER: user, TYPED: text}
    code = {kind: entity_code(kind, names[kind][rows[kind]]) for kind in KINDS}

    def seen(kind: str, relation: int, member: NDArray[np.uint64], only: NDArray[np.bool_] | None = None) -> Facts:
        mine, entity = rows[kind], code[kind]
        if only is not None:
            entity, mine = entity[only[mine]], mine[only[mine]]
        relations, once = np.full(len(mine), relation, dtype=np.uint8), np.ones(len(mine), dtype=np.uint32)
        return Facts(entity, relations, member[mine], minute[mine], minute[mine], once)

    failed, at = columns.type == LOGIN_FAILED, minute.astype(np.uint64)
    facts = Facts.merged(
        [
            seen(DEVICE, USERS, user),
            seen(DEVICE, SESSIONS, columns.session),
            seen(DEVICE, FAILURES, at, failed),
            seen(USER, DEVICES, columns.device),
            seen(USER, FAILURES, at, failed),
            seen(TYPED, USERS, user),
            seen(TYPED, PERIODS, at // np.uint64(PERIOD)),
        ]
    )
    return Observed(facts, *_named(frame, rows, code))


def _named(
    frame: pl.DataFrame, rows: Mapping[str, NDArray[np.intp]], code: Mapping[str, NDArray[np.uint64]]
) -> tuple[NDArray[np.uint64], list[str], list[str]]:
    """Return the codes of all entities of a batch, rising, with the kind and the name of each."""
    found: list[tuple[int, str, str]] = []
    for kind, column in ((DEVICE, "device_fingerprint"), (USER, "user_id"), (TYPED, "input_hash")):
        codes, first = np.unique(code[kind], return_index=True)
        texts = frame[column].gather(rows[kind][first]).to_list()
        found += zip(codes.tolist(), [kind] * len(codes), texts, strict=True)
    found.sort()
    return (
        np.array([entity for entity, _, _ in found], dtype=np.uint64),
        [kind for _, kind, _ in found],
        [name for _, _, name in found],
    )


def known(facts: Facts, observed: Observed) -> list[Known]:
    """Return what is known of the entities that a batch touched.

    Args:
        facts: All of these entities, the batch's own among them.
        observed: The batch.
    """
    starts = np.searchsorted(facts.entity, observed.entities)
    at = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(facts)))
    ago = np.maximum.reduceat(facts.last, starts)[at] - facts.last if len(starts) else facts.last

    def count(relation: int, within: int, weights: NDArray[np.uint32] | None = None) -> list[int]:
        rows = (facts.relation == relation) & (ago < within)
        weight = None if weights is None else weights[rows]
        counts = np.bincount(at[rows], weight, minlength=len(starts))
        counted: list[int] = np.minimum(counts, MOST_MEMBERS).astype(np.int64).tolist()
        return counted

    users, sessions = count(USERS, DAY), count(SESSIONS, HOUR)
    failures = count(FAILURES, HOUR, facts.count)
    since = np.full(len(starts), np.iinfo(np.uint32).max, dtype=np.uint32)
    periods = (facts.relation == PERIODS) & (ago < SINCE)
    np.minimum.at(since, at[periods], facts.first[periods])
    is_input = np.array([kind == TYPED for kind in observed.kinds], dtype=np.bool_)
    newest = _newest_users(facts, at, (facts.relation == USERS) & (ago < DAY) & is_input[at], len(starts))
    since_ms = np.where(is_input, since.astype(np.int64) * MINUTE_MS, 0).tolist()
    columns = (observed.kinds, observed.names, users, newest, sessions, failures, since_ms)
    return [Known(*each) for each in zip(*columns, strict=True)]


def _newest_users(
    facts: Facts, at: NDArray[np.intp], chosen: NDArray[np.bool_], entities: int
) -> list[tuple[int, ...]]:
    """Return the codes of the users who were seen last with each entity; of equally new ones the larger first."""
    rows = np.flatnonzero(chosen)
    newest: dict[int, list[int]] = {}
    for row in rows[np.lexsort((facts.member[rows], facts.last[rows]))[::-1]].tolist():
        mine = newest.setdefault(int(at[row]), [])
        if len(mine) < NEWEST:
            mine.append(int(facts.member[row]) & 0xFFFF_FFFF)
    return [tuple(newest.get(place, ())) for place in range(entities)]
