import threading
from collections import Counter
from collections.abc import Collection
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.exceptions import RedisError

from dataflows.connectors.page_counts import (
    PAGES_KEY,
    WATERMARKS_KEY,
    PageCountOutbox,
    minute_name,
    prune_before,
)
from dataflows.connectors.redis_writer import Link, RedisWriter
from dataflows.items import PageCounts
from features.page_windows import MINUTE_MS, PageCount
from infra.embedded import EmbeddedRedis
from observability import metrics
from observability.health import Readiness
from tests.builders import A_MINUTE_MS
from tests.dataflows.connectors.a_link import Client, QuietWriter, link_to, looking_at
from tests.dataflows.eventually import eventually

HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
MINUTE = "2025-06-10T05:04:00"


def outbox_of(partition: int = 0, *, needed: Collection[int] = (0,), **changes: Any) -> PageCountOutbox:
    options = {"partitions": 4, "retention_ms": DAY_MS, "lateness_ms": HOUR_MS} | changes
    return PageCountOutbox(partition, needed=needed, **options)


def counts(*some: tuple[str, int, int], watermark_ms: int | None = None, unread: int = 1) -> PageCounts:
    """Return new absolute counts: page, minutes from the first one, count."""
    updates = [PageCount(page, A_MINUTE_MS + minute * MINUTE_MS, count) for page, minute, count in some]
    return PageCounts(0, updates, A_MINUTE_MS if watermark_ms is None else watermark_ms, unread)


def at(minute: int) -> str:
    return minute_name(A_MINUTE_MS + minute * MINUTE_MS)


def refused() -> float:
    return metrics.REGISTRY.get_sample_value("fraud_page_counts_refused_total") or 0.0


def durable(outbox: PageCountOutbox, link: Link, watermark_ms: int, *, unread: int = 1) -> None:
    """Let a watermark become durable, and be written."""
    outbox.put(counts(watermark_ms=watermark_ms, unread=unread))
    outbox.snapshot()
    outbox.snapshot()
    outbox.write_to(link)


def test_a_minute_is_a_field_of_its_pages_hash(link: Link, store: Client) -> None:
    outbox = outbox_of()
    outbox.put(counts(("/a", 0, 3), ("/a", 1, 1), ("/b", 0, 2)))

    outbox.write_to(link)

    assert store.hgetall("click_count:/a") == {MINUTE: "3", "2025-06-10T05:05:00": "1"}
    assert store.hgetall("click_count:/b") == {MINUTE: "2"}
    assert store.hgetall("{click_count:/a}:parts") == {f"{MINUTE}|0": "3", "2025-06-10T05:05:00|0": "1"}
    assert store.smembers(PAGES_KEY) == {"/a", "/b"}


def test_a_count_written_twice_stays_right(link: Link, store: Client) -> None:
    outbox = outbox_of()
    outbox.put(counts(("/a", 0, 3)))
    outbox.write_to(link)

    outbox.connected()
    outbox.write_to(link)
    outbox.put(counts(("/a", 0, 3)))
    outbox.write_to(link)

    assert store.hget("click_count:/a", MINUTE) == "3"


def test_partitions_add_up_and_each_moves_only_its_own_part(link: Link, store: Client) -> None:
    first, second = outbox_of(0), outbox_of(1)
    for outbox, count in ((first, 3), (second, 4), (first, 5)):
        outbox.put(counts(("/a", 0, count)))
        outbox.write_to(link)

    assert store.hget("click_count:/a", MINUTE) == "9"
    assert store.hgetall("{click_count:/a}:parts") == {f"{MINUTE}|0": "5", f"{MINUTE}|1": "4"}


def test_pages_with_any_characters_have_their_counts(link: Link, store: Client) -> None:
    outbox = outbox_of()
    outbox.put(counts(("/größe/日本 'x' \"y\"", 0, 2)))

    outbox.write_to(link)

    assert store.hgetall("click_count:/größe/日本 'x' \"y\"") == {MINUTE: "2"}


def test_after_a_restart_from_an_older_snapshot_a_replay_ends_right(link: Link, store: Client) -> None:
    before = outbox_of()
    before.put(counts(("/a", 0, 3)))
    stored = before.snapshot()
    before.put(counts(("/a", 0, 8), ("/a", 1, 2)))
    before.write_to(link)

    restarted = outbox_of()
    restarted.restore(stored)
    restarted.write_to(link)
    back = store.hget("click_count:/a", MINUTE)
    for count in (5, 8):
        restarted.put(counts(("/a", 0, count)))
        restarted.write_to(link)
    restarted.put(counts(("/a", 1, 2)))
    restarted.write_to(link)

    assert back == "3"
    assert store.hgetall("click_count:/a") == {MINUTE: "8", at(1): "2"}


def test_a_redis_that_lost_everything_is_filled_again() -> None:
    with EmbeddedRedis() as server:
        writer = QuietWriter(server.url, 1, Readiness())
        outbox = outbox_of()
        writer.add(outbox)
        outbox.put(counts(("/a", 0, 3), ("/b", 0, 1)))
        assert writer.write_now()
        outbox.put(counts(("/a", 0, 4)))
        outbox.snapshot()

        server.kill()
        assert not writer.write_now()
        outbox.put(counts(("/a", 1, 7)))
        outbox.snapshot()
        server.start()
        assert writer.write_now()

        with looking_at(server.url) as client:
            assert client.hgetall("click_count:/a") == {MINUTE: "4", at(1): "7"}
            assert client.hgetall("click_count:/b") == {MINUTE: "1"}
            assert client.smembers(PAGES_KEY) == {"/a", "/b"}


def test_counts_are_exact_when_the_connection_breaks_again_and_again(
    empty_redis: EmbeddedRedis, store: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataflows.connectors.redis_writer._RETRY_SECONDS", 0.001)
    writer = RedisWriter(empty_redis.url, 1, Readiness())
    outboxes = [outbox_of(0), outbox_of(1)]
    for outbox in outboxes:
        writer.add(outbox)

    for count in range(1, 201):
        for outbox in outboxes:
            outbox.put(counts(("/a", count % 3, count), ("/b", 0, count)))
        if count % 10 == 0:
            store.client_kill_filter(_type="normal", skipme=True)
            outboxes[0].snapshot()

    expected = {at(minute): str(2 * last) for minute, last in ((0, 198), (1, 199), (2, 200))}
    eventually(lambda: store.hgetall("click_count:/a") == expected)
    eventually(lambda: store.hgetall("click_count:/b") == {MINUTE: "400"})


def test_a_count_in_flight_survives_snapshots_and_a_failure(link: Link, store: Client) -> None:
    outbox = outbox_of()
    outbox.put(counts(("/a", 0, 3)))

    class Hanging(Link):
        """Takes so long that snapshots go by and the minute closes, and fails then."""

        def __init__(self) -> None:
            """Have no connection of its own."""

        def call(self, *_: tuple[Any, ...]) -> list[Any]:
            outbox.put(counts(watermark_ms=A_MINUTE_MS + DAY_MS))
            for _ in range(5):
                outbox.snapshot()
            raise RedisError

        def close(self) -> None:
            """Have nothing to close."""

    with pytest.raises(RedisError):
        outbox.write_to(Hanging())
    outbox.write_to(link)

    assert store.hget("click_count:/a", MINUTE) == "3"


def test_a_count_that_changes_while_it_is_written_is_written_again(link: Link, store: Client) -> None:
    outbox = outbox_of()
    outbox.put(counts(("/a", 0, 3)))

    class Slow(Link):
        """Lets a newer count in before the replies."""

        def __init__(self) -> None:
            """Have no connection of its own."""

        def call(self, *commands: tuple[Any, ...]) -> list[Any]:
            outbox.put(counts(("/a", 0, 4)))
            return link.call(*commands)

    outbox.write_to(Slow())
    outbox.write_to(link)

    assert store.hget("click_count:/a", MINUTE) == "4"


def test_a_snapshot_keeps_open_minutes_and_gives_up_closed_ones_that_were_written(link: Link) -> None:
    outbox = outbox_of()
    outbox.put(counts(("/old", 0, 3), ("/new", 90, 1), watermark_ms=A_MINUTE_MS + 90 * MINUTE_MS))
    outbox.write_to(link)

    kept = []
    for _ in range(4):
        outbox.snapshot()
        kept.append({page for page, _ in outbox._counts})

    assert kept == [{"/old", "/new"}, {"/old", "/new"}, {"/new"}, {"/new"}]


def test_a_closed_minute_that_redis_has_not_taken_is_not_given_up() -> None:
    outbox, restored = outbox_of(), outbox_of()
    outbox.put(counts(("/old", 0, 3), watermark_ms=A_MINUTE_MS + DAY_MS))

    for _ in range(10):
        stored = outbox.snapshot()
    restored.restore(stored)

    assert restored._counts == {("/old", A_MINUTE_MS): 3}


def test_a_key_of_another_type_is_counted_and_the_other_pages_are_written(link: Link, store: Client) -> None:
    store.set("click_count:/a", "somebody else's")
    before = metrics.REGISTRY.get_sample_value("fraud_redis_errors_total", {"use": "wrong_type"}) or 0.0
    outbox = outbox_of()
    outbox.put(counts(("/a", 0, 3), ("/b", 0, 2)))

    outbox.write_to(link)

    after = metrics.REGISTRY.get_sample_value("fraud_redis_errors_total", {"use": "wrong_type"}) or 0.0
    assert store.hgetall("click_count:/b") == {MINUTE: "2"}
    assert after - before == 1
    store.delete("click_count:/a")
    outbox.connected()
    outbox.write_to(link)
    assert store.hgetall("click_count:/a") == {MINUTE: "3"}


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


def test_pruning_minute_by_minute_leaves_what_pruning_at_once_leaves(link: Link, store: Client) -> None:
    first, second = outbox_of(0), outbox_of(3)
    for minute in range(130):
        for outbox in (first, second):
            outbox.put(counts(("/a", minute, 1 + minute)))
    for outbox in (first, second):
        outbox.write_to(link)

    for minute in (1, 2, 3, 7, 66, 127):
        durable(first, link, A_MINUTE_MS + DAY_MS + minute * MINUTE_MS)

    assert set(store.hkeys("click_count:/a")) == {at(127), at(128), at(129)}
    assert set(store.hkeys("{click_count:/a}:parts")) == {
        "floor",
        *(f"{at(minute)}|{partition}" for minute in (127, 128, 129) for partition in (0, 3)),
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


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_however_writes_and_restarts_fall_the_totals_are_those_of_the_last_counts(
    redis_server: EmbeddedRedis, data: st.DataObject
) -> None:
    with looking_at(redis_server.url) as client, link_to(redis_server.url) as link:
        client.flushall()
        outboxes = [outbox_of(0), outbox_of(1)]
        stored = [outbox.snapshot() for outbox in outboxes]
        last: list[Counter[tuple[str, int]]] = [Counter(), Counter()]
        for step in data.draw(st.lists(st.sampled_from(["count", "write", "snapshot", "restart", "reconnect"]))):
            which = data.draw(st.integers(0, 1), label="partition")
            outbox, counted = outboxes[which], last[which]
            if step == "count":
                window = (data.draw(st.sampled_from(["/a", "/b"])), data.draw(st.integers(0, 2)))
                counted[window] += data.draw(st.integers(1, 3))
                outbox.put(counts((*window, counted[window])))
            elif step == "write":
                outbox.write_to(link)
            elif step == "snapshot":
                stored[which] = outbox.snapshot()
            elif step == "reconnect":
                outbox.connected()
            else:
                outboxes[which] = outbox_of(which)
                outboxes[which].restore(stored[which])
                outboxes[which].write_to(link)
                outboxes[which].put(counts(*((*window, count) for window, count in counted.items())))
        for outbox in outboxes:
            outbox.write_to(link)

        assert {
            (page, field): int(count)
            for page in ("/a", "/b")
            for field, count in client.hgetall(f"click_count:{page}").items()
        } == {(page, at(minute)): count for (page, minute), count in (last[0] + last[1]).items()}


def test_many_threads_putting_and_one_writing_lose_nothing(link: Link, store: Client) -> None:
    outbox = outbox_of()

    def put(page: str) -> None:
        for count in range(1, 301):
            outbox.put(counts((page, 0, count)))

    threads = [threading.Thread(target=put, args=(f"/{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        outbox.write_to(link)
        outbox.snapshot()
    outbox.write_to(link)

    assert [store.hget(f"click_count:/{number}", MINUTE) for number in range(4)] == ["300"] * 4
