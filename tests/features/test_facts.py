"""Facts: whatever the order and the batches, the same facts; what is old or too much goes, and nothing else."""

import random
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.facts import Facts, FactTable
from features.snapshot import SnapshotError

KEEP = {0: 50, 1: 5}
Row = tuple[int, int, int, int]


def facts_of(rows: list[Row]) -> Facts:
    """Make facts of (entity, relation, member, minute)."""
    entity, relation, member, minute = (list(column) for column in zip(*rows, strict=True)) if rows else ([],) * 4
    at = np.array(minute, dtype=np.uint32)
    ones = np.ones(len(at), dtype=np.uint32)
    return Facts(
        np.array(entity, dtype=np.uint64),
        np.array(relation, dtype=np.uint8),
        np.array(member, dtype=np.uint64),
        at,
        at,
        ones,
    )


def rows_of(facts: Facts) -> list[tuple[int, ...]]:
    return list(zip(*(getattr(facts, name).tolist() for name in Facts.__slots__), strict=True))


def expected(rows: list[Row]) -> list[tuple[int, ...]]:
    minutes = defaultdict(list)
    for *key, minute in rows:
        minutes[tuple(key)].append(minute)
    return [(*key, min(seen), max(seen), len(seen)) for key, seen in sorted(minutes.items())]


some_rows = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1), st.integers(0, 4), st.integers(0, 40)))


@given(some_rows, st.lists(st.integers(0, 60), max_size=5), st.randoms())
def test_order_and_batches_make_no_difference(rows: list[Row], cuts: list[int], dice: random.Random) -> None:
    table, shuffled = FactTable(KEEP, most=100), rows.copy()
    dice.shuffle(shuffled)
    ends = sorted(min(cut, len(rows)) for cut in cuts)
    for start, end in zip([0, *ends], [*ends, len(rows)], strict=True):
        table.add(facts_of(shuffled[start:end]), horizon=0)

    found = table.of(np.arange(6, dtype=np.uint64))

    assert rows_of(found) == expected(rows)


def test_only_the_facts_of_those_asked_for_are_returned() -> None:
    table = FactTable(KEEP, most=100)
    table.add(facts_of([(1, 0, 7, 3), (2, 0, 7, 3), (4, 1, 7, 3)]), horizon=0)

    assert rows_of(table.of(np.array([0, 2, 4, 9], dtype=np.uint64))) == [(2, 0, 7, 3, 3, 1), (4, 1, 7, 3, 3, 1)]
    assert rows_of(table.of(np.array([], dtype=np.uint64))) == []


def test_a_fact_is_kept_for_as_long_as_its_relation_says_behind_the_horizon() -> None:
    table = FactTable(KEEP, most=100)
    table.add(facts_of([(1, 0, 1, 10), (1, 1, 1, 10), (1, 1, 2, 15)]), horizon=20)

    table.snapshot()

    assert rows_of(table.of(np.array([1], dtype=np.uint64))) == [(1, 0, 1, 10, 10, 1), (1, 1, 2, 15, 15, 1)]
    assert len(table) == 2


def test_of_too_many_members_those_seen_last_are_kept() -> None:
    table = FactTable(KEEP, most=3)
    table.add(facts_of([(1, 0, member, 20 - member % 4) for member in range(8)] + [(2, 0, 5, 1)]), horizon=0)

    table.snapshot()

    assert rows_of(table.of(np.array([1], dtype=np.uint64))) == [
        (1, 0, 0, 20, 20, 1),
        (1, 0, 4, 20, 20, 1),
        (1, 0, 5, 19, 19, 1),
    ]
    assert len(table) == 4


def test_what_was_written_is_read_again_and_goes_on() -> None:
    dice = random.Random(4)
    rows = [(dice.randrange(300), dice.randrange(2), dice.randrange(50), dice.randrange(5)) for _ in range(9_000)]
    table, other = FactTable(KEEP, most=100), FactTable(KEEP, most=100)
    table.add(facts_of(rows[:6_000]), horizon=0)

    other.restore(table.snapshot())
    for each in (table, other):
        each.add(facts_of(rows[6_000:]), horizon=0)

    everybody = np.arange(300, dtype=np.uint64)
    assert rows_of(other.of(everybody)) == rows_of(table.of(everybody)) == expected(rows)
    with pytest.raises(SnapshotError):
        other.restore(b"something else")


def test_entities_that_were_not_seen_for_longest_make_room() -> None:
    table = FactTable(KEEP, most=100)
    table.add(facts_of([(entity, 0, member, entity) for entity in (5, 3, 9, 7) for member in (1, 2)]), horizon=0)

    assert table.evict(8) == 0
    assert table.evict(5) == 2
    assert sorted(set(table.of(np.arange(10, dtype=np.uint64)).entity.tolist())) == [7, 9]
    assert table.evict(0) == 2
    assert len(table) == 0
