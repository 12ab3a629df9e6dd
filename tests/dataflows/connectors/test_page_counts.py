import threading
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.exceptions import RedisError

from dataflows.connectors.page_counts import PAGES_KEY
from dataflows.connectors.redis_writer import Link, RedisWriter
from features.page_windows import MINUTE_MS
from infra.embedded import EmbeddedRedis
from observability import metrics
from observability.health import Readiness
from tests.builders import A_MINUTE_MS
from tests.dataflows.connectors.a_link import Client, QuietWriter, link_to, looking_at
from tests.dataflows.connectors.counts_builders import DAY_MS, MINUTE, at, counts, outbox_of
from tests.dataflows.eventually import eventually


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
            for _snapshot in range(5):
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


def test_a_minute_that_closes_while_redis_is_away_is_filled_again() -> None:
    with EmbeddedRedis() as server:
        writer, outbox = QuietWriter(server.url, 1, Readiness()), outbox_of()
        writer.add(outbox)
        outbox.put(counts(("/old", 0, 3)))
        assert writer.write_now()

        server.kill()
        outbox.put(counts(("/new", 90, 1), watermark_ms=A_MINUTE_MS + 90 * MINUTE_MS))
        for _ in range(5):
            outbox.snapshot()
            assert not writer.write_now()
        server.start()
        assert writer.write_now()

        with looking_at(server.url) as client:
            assert client.hgetall("click_count:/old") == {MINUTE: "3"}


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
