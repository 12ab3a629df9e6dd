"""What is deleted from the page counts in Redis, and what must not be."""

import pytest

from dataflows.connectors.page_counts import PAGES_KEY, WATERMARKS_KEY, PageCountOutbox, prune_before
from dataflows.connectors.redis_writer import Link
from features.page_windows import MINUTE_MS
from observability import metrics
from tests.builders import A_MINUTE_MS
from tests.dataflows.connectors.a_link import Client
from tests.dataflows.connectors.counts_builders import DAY_MS, MINUTE, at, counts, outbox_of


def refused() -> float:
    return metrics.REGISTRY.get_sample_value("fraud_page_counts_refused_total") or 0.0


def durable(outbox: PageCountOutbox, link: Link, watermark_ms: int, *, unread: int = 1) -> None:
    """Let a watermark become durable, and be written."""
    outbox.put(counts(watermark_ms=watermark_ms, unread=unread))
    outbox.snapshot()
    outbox.snapshot()
    outbox.write_to(link)


def test_old_minutes_are_pruned_behind_the_durable_watermark(link: Link, store: Client) -> None:
    outbox = outbox_of()
    outbox.put(counts(("/a", 0, 3), ("/a", 1, 1), ("/a", 5, 2)))
    outbox.write_to(link)

    durable(outbox, link, A_MINUTE_MS + DAY_MS + 5 * MINUTE_MS)

    assert store.hgetall("click_count:/a") == {at(5): "2"}
    assert store.hgetall("{click_count:/a}:parts") == {f"{at(5)}|0": "2", "floor": at(5)}


def test_a_watermark_that_is_not_durable_prunes_nothing(link: Link, store: Client) -> None:
    outbox = outbox_of()
    outbox.put(counts(("/a", 0, 3), watermark_ms=A_MINUTE_MS + 9 * DAY_MS))
    outbox.snapshot()
    outbox.write_to(link)

    assert store.hgetall("click_count:/a") == {MINUTE: "3"}
    assert not store.exists(WATERMARKS_KEY)


@pytest.mark.parametrize("steps", [(1, 2, 3, 7, 66), (1, 127), (60, 120), (59, 120)])
def test_pruning_step_by_step_leaves_what_pruning_at_once_leaves(
    steps: tuple[int, ...], link: Link, store: Client
) -> None:
    first, second = outbox_of(0), outbox_of(3)
    for outbox in (first, second):
        outbox.put(counts(*(("/a", minute, 1 + minute) for minute in range(130))))
        outbox.write_to(link)

    for step in steps:
        durable(first, link, A_MINUTE_MS + DAY_MS + step * MINUTE_MS)

    left = [at(minute) for minute in range(steps[-1], 130)]
    assert sorted(store.hkeys("click_count:/a")) == left
    assert set(store.hkeys("{click_count:/a}:parts")) == {
        "floor",
        *(f"{minute}|{partition}" for minute in left for partition in (0, 3)),
    }


def test_a_page_that_was_never_pruned_is_looked_through(link: Link, store: Client) -> None:
    outbox = outbox_of()
    durable(outbox, link, A_MINUTE_MS + DAY_MS + 200 * MINUTE_MS)
    outbox.put(counts(("/old", 0, 3), ("/old", 300, 3)))
    outbox.write_to(link)

    durable(outbox, link, A_MINUTE_MS + DAY_MS + 201 * MINUTE_MS)

    assert store.hgetall("click_count:/old") == {at(300): "3"}


def test_counts_below_the_floor_are_refused_and_counted(link: Link, store: Client) -> None:
    outbox = outbox_of()
    outbox.put(counts(("/a", 9, 1)))
    outbox.write_to(link)
    durable(outbox, link, A_MINUTE_MS + DAY_MS + 5 * MINUTE_MS)
    before = refused()

    outbox.put(counts(("/a", 4, 3), ("/a", 5, 2)))
    outbox.write_to(link)

    assert store.hgetall("click_count:/a") == {at(9): "1", at(5): "2"}
    assert refused() - before == 1


def test_a_replay_from_the_beginning_takes_the_floors_back_and_nobody_prunes_by_old_watermarks(
    link: Link, store: Client
) -> None:
    outbox = outbox_of(0, needed=(0, 1))
    other = outbox_of(1, needed=(0, 1))
    outbox.put(counts(("/a", 0, 3)))
    outbox.write_to(link)
    for each in (outbox, other):
        durable(each, link, A_MINUTE_MS + 9 * DAY_MS)

    again = [outbox_of(partition, needed=(0, 1), forget_floors=True) for partition in (0, 1)]
    for each in again:
        each.write_to(link)
    durable(again[1], link, A_MINUTE_MS + 8 * DAY_MS)
    again[0].put(counts(("/a", 0, 3)))
    again[0].write_to(link)

    assert store.hgetall("click_count:/a") == {MINUTE: "3"}


def test_a_partition_with_unread_records_holds_pruning_back_and_one_that_was_read_does_not(
    link: Link, store: Client
) -> None:
    behind, ahead = outbox_of(0, needed=(0, 1)), outbox_of(1, needed=(0, 1))
    ahead.put(counts(("/a", 0, 3)))
    ahead.write_to(link)

    durable(ahead, link, A_MINUTE_MS + 2 * DAY_MS)
    alone = store.hgetall("click_count:/a")
    durable(behind, link, A_MINUTE_MS, unread=1)
    durable(ahead, link, A_MINUTE_MS + 2 * DAY_MS + MINUTE_MS)
    held = store.hgetall("click_count:/a")
    durable(behind, link, A_MINUTE_MS, unread=0)
    durable(ahead, link, A_MINUTE_MS + 2 * DAY_MS + 2 * MINUTE_MS)

    assert alone == held == {MINUTE: "3"}
    assert store.hgetall("click_count:/a") == {}


def test_a_partition_that_was_read_to_its_end_does_not_hold_pruning_back_after_a_restart(
    link: Link, store: Client
) -> None:
    quiet = outbox_of(0, needed=(0, 1))
    durable(quiet, link, A_MINUTE_MS, unread=0)
    stored = quiet.snapshot()

    restarted = outbox_of(0, needed=(0, 1))
    restarted.restore(stored)
    restarted.snapshot()
    restarted.write_to(link)

    assert store.hget(WATERMARKS_KEY, "0") == f"{A_MINUTE_MS}:idle"


def test_values_of_others_under_our_keys_stop_pruning_and_not_counting(link: Link, store: Client) -> None:
    store.hset(WATERMARKS_KEY, "0", "soon")
    store.hset(WATERMARKS_KEY, "name", "value")
    outbox, other = outbox_of(1, needed=(0, 1)), outbox_of(2, needed=(0, 1))
    outbox.put(counts(("/a", 0, 3)))
    durable(outbox, link, A_MINUTE_MS + 2 * DAY_MS)
    with_junk = store.hgetall("click_count:/a")

    store.delete(WATERMARKS_KEY, PAGES_KEY)
    store.set(WATERMARKS_KEY, "text")
    other.put(counts(("/a", 0, 3)))
    durable(other, link, A_MINUTE_MS + 2 * DAY_MS)

    assert with_junk == {MINUTE: "3"}
    assert store.hgetall("click_count:/a") == {MINUTE: "6"}


@pytest.mark.parametrize(
    ("watermarks", "needed", "expected"),
    [
        ({}, [], None),
        ({}, [0], None),
        ({"0": "5"}, [0, 1], None),
        ({"0": "5"}, [], 5),
        ({"0": "5", "1": "3"}, [0, 1], 3),
        ({"0": "5", "1": "3:idle"}, [0, 1], 5),
        ({"0": "5:idle", "1": "3:idle"}, [0, 1], 5),
        ({"0": "5", "1": "3", "7": "1"}, [0, 1], 1),
    ],
)
def test_pruning_goes_by_the_smallest_watermark_of_those_that_still_read(
    watermarks: dict[str, str], needed: list[int], expected: int | None
) -> None:
    assert prune_before(watermarks, needed) == expected
