import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from redis.exceptions import ResponseError

from dataflows.connectors.redis_writer import Link, RedisWriter, check_eviction_policy
from dataflows.ending import StartError
from infra.embedded import EmbeddedRedis
from infra.server_process import LOOPBACK, free_port
from observability import metrics
from observability.health import Readiness
from tests.dataflows.connectors.a_link import Client, Hanging, QuietWriter, Withholding, looking_at
from tests.dataflows.eventually import eventually


def errors(use: str) -> float:
    return metrics.REGISTRY.get_sample_value("fraud_redis_errors_total", {"use": use}) or 0.0


@dataclass
class Pairs:
    """An outbox of plain keys and values, as small as one can be."""

    pending: dict[str, str] = field(default_factory=dict)
    connections: int = 0
    fault: Callable[[], None] = lambda: None

    def connected(self) -> None:
        self.connections += 1

    def write_to(self, link: Link) -> None:
        self.fault()
        taken = dict(self.pending)
        if taken:
            link.call(*(("SET", key, value) for key, value in taken.items()))
        for key in taken:
            del self.pending[key]


@pytest.fixture
def lonely_redis() -> Iterator[EmbeddedRedis]:
    """A Redis of the test's own, which may be killed."""
    with EmbeddedRedis() as server:
        yield server


def test_what_is_pending_is_written_without_being_asked_to(empty_redis: EmbeddedRedis, store: Client) -> None:
    readiness, outbox = Readiness(), Pairs({"a": "1"})
    writer = RedisWriter(empty_redis.url, 1, readiness)

    writer.add(outbox)
    eventually(lambda: not outbox.pending)
    outbox.pending["b"] = "2"
    eventually(lambda: not outbox.pending)

    assert store.mget("a", "b") == ["1", "2"]
    assert outbox.connections == 1
    assert readiness.is_ready


def test_an_outbox_that_comes_later_is_told_of_the_connection_too(empty_redis: EmbeddedRedis) -> None:
    writer = QuietWriter(empty_redis.url, 1, Readiness())
    first, second = Pairs(), Pairs()
    writer.add(first)
    writer.write_now()

    writer.add(second)

    assert (first.connections, second.connections) == (1, 1)


def test_an_outage_keeps_everything_and_the_next_connection_writes_it(lonely_redis: EmbeddedRedis) -> None:
    readiness, outbox = Readiness(), Pairs({"a": "1"})
    writer = QuietWriter(lonely_redis.url, 1, readiness)
    writer.add(outbox)
    before = errors("write")

    assert writer.write_now()
    lonely_redis.kill()
    outbox.pending["b"] = "2"
    during = [writer.write_now() for _ in range(3)]
    said = dict(readiness.reasons)
    lonely_redis.start()
    after = writer.write_now()

    assert (during, after) == ([False] * 3, True)
    assert said["redis"]
    assert readiness.is_ready
    assert outbox.connections == 2
    assert errors("write") - before == 3
    assert metrics.REGISTRY.get_sample_value("fraud_redis_up") == 1
    with looking_at(lonely_redis.url) as client:
        assert client.get("b") == "2"


def test_a_hundred_lost_connections_are_not_the_end(empty_redis: EmbeddedRedis, store: Client) -> None:
    outbox = Pairs()
    writer = QuietWriter(f"{empty_redis.url}?max_connections=2", 1, Readiness())
    writer.add(outbox)

    for number in range(5):
        outbox.pending["a"] = str(number)
        assert writer.write_now()
        store.client_kill_filter(_type="normal", skipme=True)
        outbox.pending["a"] = "lost?"
        writer.write_now()

    assert outbox.connections == 5
    assert writer.write_now()


def test_what_redis_refuses_is_kept_and_said(empty_redis: EmbeddedRedis) -> None:
    def refuse() -> None:
        msg = "READONLY You can't write against a read only replica."
        raise ResponseError(msg)

    readiness, outbox = Readiness(), Pairs({"a": "1"}, fault=refuse)
    writer = QuietWriter(empty_redis.url, 1, readiness)
    writer.add(outbox)

    assert not writer.write_now()

    assert outbox.pending == {"a": "1"}
    assert "READONLY" in readiness.reasons["redis"]


def test_an_unforeseen_error_does_not_end_the_thread_unseen(
    empty_redis: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("dataflows.connectors.redis_writer._RETRY_SECONDS", 0.01)
    faults = [ValueError("a bug")]

    def fail_once() -> None:
        if faults:
            raise faults.pop()

    outbox = Pairs({"a": "1"}, fault=fail_once)
    writer = RedisWriter(empty_redis.url, 1, Readiness())

    writer.add(outbox)
    eventually(lambda: not outbox.pending)

    assert outbox.connections == 2
    assert "Redis: writing failed" in caplog.text


def test_a_key_of_another_type_is_counted_and_the_other_replies_are_given(link: Link, store: Client) -> None:
    store.set("string", "text")
    before = errors("wrong_type")

    replies = link.call(("HSET", "hash", "a", 1), ("HSET", "string", "a", 1), ("EVAL", _TOUCH, 1, "string"))

    assert replies[0] == 1
    assert [type(reply) for reply in replies[1:]] == [ResponseError, ResponseError]
    assert errors("wrong_type") - before == 2


_TOUCH = "return redis.call('HGET', KEYS[1], 'a')"


def test_any_other_refusal_is_raised_after_all_replies_were_read(link: Link) -> None:
    with pytest.raises(ResponseError, match="unknown command"):
        link.call(("SET", "a", 1), ("NONSENSE",), ("SET", "b", 2))

    assert link.call(("MGET", "a", "b")) == [[b"1", b"2"]]


def test_a_drain_writes_what_is_pending(empty_redis: EmbeddedRedis, store: Client) -> None:
    outbox = Pairs({})
    writer = RedisWriter(empty_redis.url, 60_000, Readiness())
    writer.add(outbox)
    eventually(lambda: outbox.connections)
    outbox.pending["a"] = "1"

    writer.drain()

    assert store.get("a") == "1"
    assert outbox.pending == {}


def test_a_drain_waits_a_third_of_a_second_in_all_for_a_redis_that_hangs(hanging: Hanging) -> None:
    writer = RedisWriter(hanging.url, 60_000, Readiness())
    writer.add(Pairs({"a": "1"}))
    began = time.monotonic()

    for _ in range(16):
        writer.drain()

    assert 0.25 < time.monotonic() - began < 0.6


def test_a_redis_that_may_evict_is_refused(lonely_redis: EmbeddedRedis) -> None:
    check_eviction_policy(lonely_redis.url)
    with looking_at(lonely_redis.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")

    with pytest.raises(StartError, match=r"REDIS_URL: expected .* noeviction, got one with allkeys-lru"):
        check_eviction_policy(lonely_redis.url)


def test_a_redis_that_does_not_answer_at_the_start_is_let_pass_and_said(caplog: pytest.LogCaptureFixture) -> None:
    check_eviction_policy(f"redis://:sesame@{LOOPBACK}:{free_port()}/0")

    assert "cannot be asked for its eviction policy yet: ConnectionError" in caplog.text
    assert "sesame" not in caplog.text


def test_what_a_given_up_connection_still_holds_is_never_executed(
    empty_redis: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataflows.connectors.redis_writer.CALL_SECONDS", 0.3)
    proxy = Withholding(empty_redis.url)
    writer = QuietWriter(proxy.url, 10, Readiness())
    outbox = Pairs({"key": "first"})
    writer.add(outbox)
    assert writer.write_now()

    proxy.keeps = True
    outbox.pending["key"] = "old"
    assert not writer.write_now()
    proxy.keeps = False
    outbox.pending["key"] = "new"
    assert writer.write_now()
    assert proxy.deliver() > 0

    with looking_at(empty_redis.url) as client:
        assert client.ping()
        assert client.get("key") == "new"
    proxy.close()
