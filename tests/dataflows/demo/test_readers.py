from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import redis
from prometheus_client import CollectorRegistry, Counter

from dataflows.demo.readers import FlagReader, FlowPort, ReaderError, RedisReader
from infra.embedded import EmbeddedKafka, EmbeddedRedis
from infra.server_process import LOOPBACK, free_port
from observability.health import HealthServer, Readiness
from schemas import catalogue
from tests.infra.kafka_records import produce

NewTopics = Callable[..., list[str]]

MINUTE_05_04 = 1_749_531_840.0
POLL_SECONDS = 0.1


def a_flag(flag_id: str, **overrides: Any) -> bytes:
    record: dict[str, Any] = {
        **dict.fromkeys(("user_id", "event_id", "topic", "model_id", "feature_set_id", "configuration_id"), "x"),
        **dict.fromkeys(("event_timestamp", "first_timestamp", "flagged_at", "partition", "offset", "first_offset"), 1),
        **{name: [] for name in ("reasons", "feature_names", "features", "enrichment", "degraded")},
        "raw_score": 2.0,
        "threshold": 0.8,
        "state_before": b"",
        "flag_id": flag_id,
        "session_id": "s-1",
        "level": "review",
        "score": 0.9,
    }
    return catalogue.frame(catalogue.FLAG.id, catalogue.FLAG, record | overrides)


def read_until(reader: FlagReader, received: int) -> list[str]:
    """Read so many records; the test's own time limit ends a wait for ever."""
    found: list[str] = []
    while reader.received < received:
        found += [flag.flag_id for flag in reader.poll(POLL_SECONDS)]
    return sorted(found)


@pytest.fixture
def flags_topic(new_topics: NewTopics) -> str:
    [topic] = new_topics("flags", partitions=2)
    return topic


@pytest.fixture
def client(empty_redis: EmbeddedRedis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(empty_redis.url, decode_responses=True) as client:
        yield client


@pytest.fixture
def reader(empty_redis: EmbeddedRedis) -> Iterator[RedisReader]:
    with closing(RedisReader(empty_redis.url)) as reader:
        yield reader


def test_only_flags_of_this_run_are_read(embedded_kafka: EmbeddedKafka, flags_topic: str) -> None:
    address = embedded_kafka.bootstrap_servers
    produce(address, flags_topic, [a_flag("before")])

    with closing(FlagReader({"bootstrap.servers": address}, flags_topic)) as reader:
        produce(address, flags_topic, [a_flag("first"), a_flag("second")])

        assert read_until(reader, received=2) == ["first", "second"]
        assert reader.count == 2


def test_a_repeated_flag_counts_once(embedded_kafka: EmbeddedKafka, flags_topic: str) -> None:
    address = embedded_kafka.bootstrap_servers

    with closing(FlagReader({"bootstrap.servers": address}, flags_topic)) as reader:
        produce(address, flags_topic, [a_flag("same"), a_flag("same"), a_flag("other")])

        assert read_until(reader, received=3) == ["other", "same"]
        assert reader.count == len(reader.newest) == 2


def test_what_is_no_flag_is_passed_over(embedded_kafka: EmbeddedKafka, flags_topic: str) -> None:
    address = embedded_kafka.bootstrap_servers

    with closing(FlagReader({"bootstrap.servers": address}, flags_topic)) as reader:
        produce(address, flags_topic, [b"", b"\x00\x00\x00\x00\x02\xff", a_flag("a flag")])

        assert read_until(reader, received=3) == ["a flag"]


def test_a_kafka_that_does_not_answer_is_said_in_one_line() -> None:
    dead = {"bootstrap.servers": f"{LOOPBACK}:{free_port()}"}

    with pytest.raises(ReaderError, match=r"^Kafka: cannot read flags: [^\n]+$"):
        FlagReader(dead, "flags", timeout_seconds=0.3)


def test_the_busiest_pages_of_the_newest_minutes_are_read(client: redis.Redis, reader: RedisReader) -> None:
    client.hset("click_count:/login", mapping={"2025-06-10T05:04:00": 7, "2025-06-10T05:02:00": 1})
    client.hset("click_count:/old", mapping={"2025-06-10T04:00:00": 99})
    client.hset("click_count:/pay", mapping={"2025-06-10T05:03:00": 9})
    client.hset("{click_count:/pay}:parts", mapping={"2025-06-10T05:03:00|0": 9})

    table = reader.pages(MINUTE_05_04 + 31.5)

    assert table.minutes == ("05:02", "05:03", "05:04")
    assert table.rows == (("/pay", (0, 9, 0)), ("/login", (1, 0, 7)))


def test_the_totals_count_what_redis_holds_by_kind(client: redis.Redis, reader: RedisReader) -> None:
    for key in (
        "click_count:/login",
        "click_count:/pay",
        "session:a",
        "session:b",
        "session:c",
        "{click_count:/pay}:parts",
    ):
        client.hset(key, "field", "1")
    for key in ("session:not-a-hash", "risk:d:score", "input:h:users", "input:i:users", "profile:u"):
        client.set(key, "1")

    counted = {"pages": 2, "sessions": 3, "devices_at_risk": 1, "inputs_known": 2, "users_known": 1}
    assert reader.totals() == counted


def test_pages_stay_on_the_screen_while_redis_is_away(empty_redis: EmbeddedRedis, reader: RedisReader) -> None:
    with redis.Redis.from_url(empty_redis.url) as client:
        client.hset("click_count:/login", "2025-06-10T05:04:00", "7")
    before = reader.pages(MINUTE_05_04)

    empty_redis.kill()
    try:
        during = reader.pages(MINUTE_05_04)
        with pytest.raises(ReaderError, match=r"^Redis does not answer: [^\n]+$"):
            reader.totals()
    finally:
        empty_redis.start()

    assert before.rows == during.rows == (("/login", (0, 0, 7)),)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ReaderError, match="REDIS_URL must be"):
        RedisReader("nowhere")


def test_figures_come_from_the_port_of_the_flow() -> None:
    registry, readiness = CollectorRegistry(), Readiness()
    Counter("fraud_events", "-", ["outcome"], registry=registry).labels("scored").inc(5)
    server = HealthServer(registry, readiness, LOOPBACK, 0)
    server.start()
    port = FlowPort(LOOPBACK, server.port)

    was_ready = port.is_ready()
    readiness.report("kafka")
    figures = port.figures()

    assert (was_ready, port.is_ready()) == (False, True)
    assert figures is not None
    assert figures.scored == 5


def test_there_are_no_figures_while_nobody_listens() -> None:
    port = FlowPort(LOOPBACK, free_port())

    assert not port.is_ready()
    assert port.figures() is None
