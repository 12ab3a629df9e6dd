"""What the stores would have known of an event is what all events before it give, looked at again each time."""

import random
from collections.abc import Mapping
from typing import Any

import polars as pl
import pytest

from features.inputs import NEWEST
from model.entities import with_entities
from tests.builders import event_frame
from tests.features.test_entities import some_events
from tests.reference_entities import DAY, HOUR, device_risk_text

Event = Mapping[str, Any]
COLUMNS = ("device_risk", "recent_failures", "input_others", "input_since_ms")


def minute(event: Event) -> int:
    return int(event["timestamp"]) // 60_000


def expected(events: list[Event], at: int) -> tuple[float, ...]:
    """Return the answers of one row, by looking at all the rows before it."""
    event, before = events[at], events[:at]

    def seen(name: str, within: int) -> list[Event]:
        same = [each for each in before if event[name] and each[name] == event[name]]
        return [each for each in same if minute(event) - minute(each) < within]

    def failed(name: str) -> int:
        return sum(each["event_type"] == "login_failed" for each in seen(name, HOUR))

    users = len({each["user_id"] for each in seen("device_fingerprint", DAY)})
    sessions = len({each["session_id"] for each in seen("device_fingerprint", HOUR)})
    risk = float(device_risk_text(users, sessions, failed("device_fingerprint")) or 0)
    typed = list(dict.fromkeys(each["user_id"] for each in reversed(seen("input_hash", DAY))))
    others = len(typed) - (event["user_id"] in typed[:NEWEST])
    since = min((minute(each) * 60_000 for each in seen("input_hash", 60 * DAY)), default=0)
    return risk, float(failed("user_id")), float(others), float(since)


@pytest.mark.parametrize(("seed", "hours"), [(1, 0.5), (2, 3), (3, 40), (4, 200)])
def test_what_is_known_is_what_all_events_before_give(seed: int, hours: float) -> None:
    events = sorted(some_events(seed, 500, hours), key=lambda event: event["timestamp"])

    known = with_entities(event_frame(events)).select(COLUMNS).rows()

    assert known == [expected(events, at) for at in range(len(events))]
    assert len(set(known)) > 50


def test_a_user_who_types_the_same_again_is_alone() -> None:
    rows = [("h", "u-1", 60_000), ("h", "u-1", 120_000), ("h", "u-2", 180_000)]
    events = [{"input_hash": text, "user_id": user, "timestamp": at, "event_type": "input"} for text, user, at in rows]

    known = with_entities(event_frame([{**some_events(1, 1, 1)[0], **event} for event in events]))

    assert known["input_others"].to_list() == [0.0, 0.0, 1.0]
    assert known["input_since_ms"].to_list() == [0.0, 60_000.0, 60_000.0]


def test_an_input_that_nobody_typed_for_two_months_is_new_again() -> None:
    dice, days = random.Random(1), [0, 20, 79, 140]
    events = [{**some_events(1, 1, 1)[0], "event_type": "input", "input_hash": "h"} for _ in days]
    for day, event in zip(days, events, strict=True):
        event["timestamp"] = 1_749_513_600_000 + day * 86_400_000 + dice.randrange(60_000)

    since = with_entities(event_frame(events))["input_since_ms"].to_list()

    assert [(at - 1_749_513_600_000) // 86_400_000 if at else None for at in since] == [None, 0, 20, None]


def test_columns_are_added_to_no_events_too() -> None:
    assert with_entities(event_frame([])).select(COLUMNS).shape == (0, 4)
    assert with_entities(event_frame([])).schema["device_risk"] == pl.Float64
