"""The marks of the last rows, against a list of them."""

import random

import numpy as np
import pytest

from features.recent import CONTENT_BITS, Recent


def marks(*given: tuple[int, int]) -> np.ndarray:
    """Marks of (event, content)."""
    return np.array([event << CONTENT_BITS | content for event, content in given], dtype=np.uint64)


@pytest.mark.parametrize("horizon", [1, 5, 64])
def test_a_mark_is_found_as_long_as_it_is_among_the_last(horizon: int) -> None:
    dice, recent, rows = random.Random(horizon), Recent(horizon), []
    for _ in range(300):
        wanted = [(dice.randrange(40), dice.randrange(2)) for _ in range(dice.randrange(7))]
        oldest = max(len(rows) - horizon, 0)
        found = recent.find(marks(*wanted))
        for at, (event, content) in enumerate(wanted):
            numbers = [number for number in range(oldest, len(rows)) if rows[number] == (event, content)]
            assert found.number[at] == (numbers[-1] if numbers else -1) or found.number[at] in numbers
            assert found.knows_event[at] == any(row[0] == event for row in rows[oldest:])
        added = [(dice.randrange(40), dice.randrange(2)) for _ in range(dice.randrange(2 * horizon + 2))]
        recent.add(marks(*added))
        rows += added


def test_events_of_one_bucket_do_not_hide_each_other() -> None:
    recent = Recent(4)
    crowded = [(1 + 16 * number, 0) for number in range(6)]

    recent.add(marks(*crowded[:3]))
    recent.add(marks(*crowded[3:]))

    assert recent.find(marks(*crowded)).number.tolist() == [-1, -1, 2, 3, 4, 5]


def test_the_same_event_with_other_content_is_known_and_not_the_same() -> None:
    recent = Recent(8)
    recent.add(marks((7, 1)))

    found = recent.find(marks((7, 2), (8, 1)))

    assert found.number.tolist() == [-1, -1]
    assert found.knows_event.tolist() == [True, False]
