import random

import polars as pl

from features.inputs import MOST_USERS, NEWEST
from model.entities import WINDOW_MS, with_inputs

Typed = tuple[str, str, int]


def expected(rows: list[Typed], at: int) -> tuple[float, float]:
    """Return others and since of one row, by looking at all the rows before it."""
    text, user, now = rows[at]
    before = [(who, when) for what, who, when in rows[:at] if what == text]
    users = list(dict.fromkeys(who for who, when in reversed(before) if when >= now - WINDOW_MS))
    count = min(len(users), MOST_USERS) - (user in users[:NEWEST])
    return float(count), float(before[0][1]) if before else 0.0


def a_frame(rows: list[Typed]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["input_hash", "user_id", "timestamp"], orient="row")


def test_what_is_known_of_an_input_is_what_others_typed_in_the_day_before() -> None:
    dice = random.Random(3)
    now, rows = 1_749_513_600_000, []
    for _ in range(600):
        now += dice.randrange(3_600_000)
        rows.append((f"h-{dice.randrange(4)}", f"u-{dice.randrange(9)}", now))

    known = with_inputs(a_frame(rows))

    found = list(zip(known["input_others"].to_list(), known["input_since_ms"].to_list(), strict=True))
    assert found == [expected(rows, at) for at in range(len(rows))]
    assert len({others for others, _ in found}) > NEWEST


def test_a_user_who_types_the_same_again_is_alone() -> None:
    known = with_inputs(a_frame([("h", "u-1", 1_000), ("h", "u-1", 2_000), ("h", "u-2", 3_000)]))

    assert known["input_others"].to_list() == [0.0, 0.0, 1.0]


def test_events_without_an_input_are_not_asked_for() -> None:
    frame = pl.DataFrame({"input_hash": [None, None], "user_id": ["u", "u"], "timestamp": [1, 2]})

    known = with_inputs(frame.cast({"input_hash": pl.String}))

    assert known["input_others"].to_list() == [0.0, 0.0] == known["input_since_ms"].to_list()
