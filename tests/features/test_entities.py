"""What is known of entities is what looking at all events again gives: in any order, any batches, any partitions."""

import random
from typing import Any

import numpy as np
import pytest

from dataflows.risk_steps import values_of
from features.entities import KEEP, MINUTE_MS, MOST_MEMBERS, Known, device_risk, known, observe
from features.events import EventColumns
from features.facts import Facts, FactTable
from tests.builders import an_event, event_frame
from tests.reference_entities import entity_values

NOW = 1_749_513_600_000
HOUR_MS = 3_600_000


def some_events(seed: int, count: int, hours: float) -> list[dict[str, Any]]:
    """Give events of few devices, users and inputs, some of them very busy, in no order."""
    dice = random.Random(seed)
    events = []
    for number in range(count):
        kind = dice.choice(["login_failed", "input", "page_view", "login"])
        events.append(
            an_event(
                event_id=f"e-{number}",
                session_id=f"s-{dice.randrange(60)}",
                user_id=dice.choice(["", *(f"u-{user}" for user in range(30))]),
                event_type=kind,
                input_hash=dice.choice([None, "", "h-1", "h-2", "h-3"]) if kind == "input" else None,
                device_fingerprint=dice.choice(["", "d-1", "d-1", "d-2", "d-3"]),
                ip=dice.choice(["", "192.0.2.1", "192.0.2.2"]),
                timestamp=NOW + int(dice.random() ** 0.3 * hours * HOUR_MS),
            )
        )
    return events


def stored_after(events: list[dict[str, Any]], batch: int, table: FactTable | None = None) -> dict[str, str]:
    """Give what a store would hold after these events in batches."""
    table = FactTable(KEEP, MOST_MEMBERS) if table is None else table
    stored = dict[str, str]()
    for start in range(0, len(events), batch):
        frame = event_frame(events[start : start + batch])
        observed = observe(frame, EventColumns.from_frame(frame))
        table.add(observed.facts, horizon=0)
        for entity in known(table.of(observed.entities), observed):
            for key, value in values_of(entity):
                stored.pop(key, None) if value.text is None else stored.update({key: value.text})
    return stored


@pytest.mark.parametrize("batch", [1, 7, 400])
@pytest.mark.parametrize(("seed", "hours"), [(1, 0.5), (2, 3), (3, 40), (4, 900)])
def test_a_store_ends_with_what_all_events_together_give(seed: int, hours: float, batch: int) -> None:
    events = some_events(seed, 400, hours)

    stored = stored_after(events, batch)

    assert stored == entity_values(events)
    assert len(stored) > 10


def test_what_was_forgotten_behind_the_horizon_is_not_missed() -> None:
    events = sorted(some_events(5, 1_000, 200), key=lambda event: event["timestamp"])
    table, stored = FactTable(KEEP, MOST_MEMBERS), dict[str, str]()
    for start in range(0, len(events), 50):
        some = events[start : start + 50]
        stored |= stored_after(some, 50, table)
        table.add(Facts.none(), horizon=some[-1]["timestamp"] // MINUTE_MS)
        table.snapshot()

    expected = entity_values(events)
    assert {key: stored[key] for key in expected} == expected
    assert len(table) < 500 < len(observe(event_frame(events), EventColumns.from_frame(event_frame(events))).facts)


def test_counts_end_where_more_says_no_more() -> None:
    events = [
        an_event(
            event_id=f"e-{number}",
            session_id=f"s-{number}",
            user_id=f"u-{number}",
            event_type="login_failed",
            timestamp=NOW + number,
        )
        for number in range(400)
    ]
    frame = event_frame(events)
    observed = observe(frame, EventColumns.from_frame(frame))

    by_kind = {entity.kind: entity for entity in known(observed.facts, observed)}

    assert by_kind["device"] == Known("device", "d-1", 256, (), 256, 256, 0)
    assert device_risk(256, 256, 256) == pytest.approx(1 - 0.2 * 0.5 * 0.3)


def test_an_entity_belongs_to_one_shard_and_none_is_left_out() -> None:
    frame = event_frame(some_events(6, 300, 2))
    observed = observe(frame, EventColumns.from_frame(frame))

    parts = dict(observed.split(16))

    assert sum(len(part.entities) for part in parts.values()) == len(observed.entities)
    assert sum(len(part.facts) for part in parts.values()) == len(observed.facts)
    assert all((part.facts.entity % np.uint64(16) == shard).all() for shard, part in parts.items())
    named = [named for part in parts.values() for named in zip(part.kinds, part.names, strict=True)]
    assert sorted(named) == sorted(zip(observed.kinds, observed.names, strict=True))
