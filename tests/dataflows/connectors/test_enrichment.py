import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import redis

from dataflows.connectors.enrichment import DEADLINE_SECONDS, Enrich, Memory
from dataflows.items import AdmittedBatch, Configuration, EnrichedBatch
from dataflows.service import Service
from features.events import EventColumns
from features.inputs import KnownInput, user_code
from features.session import FEATURE_SET_ID
from infra.embedded import EmbeddedRedis
from infra.server_process import LOOPBACK, free_port
from observability import metrics
from tests.builders import an_event, event_frame
from tests.dataflows.connectors.a_link import Client, Hanging
from tests.dataflows.eventually import eventually
from tests.dataflows.running_flow import LEVELS, settings_for


def batch(*events: dict[str, Any], partition: int = 0) -> tuple[str, AdmittedBatch]:
    configuration = Configuration("0" * 16, FEATURE_SET_ID, LEVELS, "redis")
    frame = event_frame(events)
    return str(partition), AdmittedBatch(
        partition, configuration, frame, EventColumns.from_frame(frame), [], 1_000, 7, None
    )


def enrich(url: str) -> Enrich:
    return Enrich(Service(settings_for(Path(), ENRICHMENT="redis", REDIS_URL=url)))


def answers(enricher: Enrich, *events: dict[str, Any]) -> list[tuple[Any, ...]]:
    [(_, enriched)] = enricher([batch(*events)])
    return rows_of(enriched)


def rows_of(enriched: EnrichedBatch) -> list[tuple[Any, ...]]:
    """Return risk, status as it was read, whether that locks the account, and failures of every event."""
    columns, status = enriched.columns, enriched.as_read["account_status"]
    assert enriched.as_read["device_risk"] == columns.device_risk.tolist()
    assert enriched.as_read["recent_failures"] == columns.recent_failures.tolist()
    numbers = (columns.device_risk.tolist(), columns.account_locked.tolist(), columns.recent_failures.tolist())
    return [(risk, status[row], *others) for row, (risk, *others) in enumerate(zip(*numbers, strict=True))]


def refused(key: str) -> float:
    return metrics.REGISTRY.get_sample_value("fraud_answers_refused_total", {"key": key}) or 0.0


def errors() -> float:
    return metrics.REGISTRY.get_sample_value("fraud_redis_errors_total", {"use": "enrich"}) or 0.0


def test_answers_go_to_the_rows_that_asked(store: Client, empty_redis: EmbeddedRedis) -> None:
    store.mset({"risk:d-1:score": "0.25", "account:u-2:status": "locked", "user:u-1:login_failures": "3"})
    store.mset({"account:u-1:status": "active"})

    rows = answers(
        enrich(empty_redis.url),
        an_event(user_id="u-1", device_fingerprint="d-1"),
        an_event(user_id="u-2", device_fingerprint="d-2"),
        an_event(user_id="u-1", device_fingerprint="d-2"),
    )

    assert rows == [(0.25, "active", 0.0, 3.0), (0.0, "locked", 1.0, 0.0), (0.0, "active", 0.0, 3.0)]


@pytest.mark.parametrize("status", ["locked", "blocked", "suspended"])
def test_statuses_that_lock_an_account(status: str, store: Client, empty_redis: EmbeddedRedis) -> None:
    store.set("account:u-1:status", status)

    assert answers(enrich(empty_redis.url), an_event()) == [(0.0, status, 1.0, 0.0)]


def test_batches_of_several_partitions_are_asked_for_at_once_and_come_out_as_they_went_in(
    store: Client, empty_redis: EmbeddedRedis
) -> None:
    store.set("risk:d-2:score", "1")
    before = store.info("commandstats").get("cmdstat_mget", {"calls": 0})["calls"]

    enriched = enrich(empty_redis.url)(
        [batch(an_event(), partition=3), batch(an_event(device_fingerprint="d-2"), partition=1)]
    )

    assert [(key, e.partition, e.watermark_ms, e.degraded) for key, e in enriched] == [
        ("3", 3, 1_000, ()),
        ("1", 1, 1_000, ()),
    ]
    assert [e.columns.device_risk.tolist() for _, e in enriched] == [[0.0], [1.0]]
    assert store.info("commandstats")["cmdstat_mget"]["calls"] - before == 1


@pytest.mark.parametrize(
    ("key", "value", "pattern"),
    [
        ("risk:d-1:score", b"1.01", "risk:{}:score"),
        ("risk:d-1:score", b"nan", "risk:{}:score"),
        ("risk:d-1:score", b"high", "risk:{}:score"),
        ("risk:d-1:score", b"\xff", "risk:{}:score"),
        ("user:u-1:login_failures", b"-1", "user:{}:login_failures"),
        ("user:u-1:login_failures", b"1.5", "user:{}:login_failures"),
        ("user:u-1:login_failures", b"9" * 5_000, "user:{}:login_failures"),
        ("account:u-1:status", b"\xff", "account:{}:status"),
        ("input:h-1:users", b"3", "input:{}:users"),
        ("input:h-1:users", b"1749513600000 1 0000000g", "input:{}:users"),
        ("input:h-1:users", b"1749513600000 1 00000001 00000002", "input:{}:users"),
        ("input:h-1:users", b"1749513600000 257", "input:{}:users"),
        ("input:h-1:users", b"0 1", "input:{}:users"),
    ],
)
def test_a_value_that_is_none_is_counted_and_neutral(
    key: str, value: bytes, pattern: str, store: Client, empty_redis: EmbeddedRedis
) -> None:
    store.set(key, value)
    before = refused(pattern)

    [(_, enriched)] = enrich(empty_redis.url)([batch(an_event(input_hash="h-1"))])

    assert rows_of(enriched) == [(0.0, "", 0.0, 0.0)]
    assert (enriched.columns.input_others.tolist(), enriched.columns.input_since_ms.tolist()) == ([0.0], [0.0])
    assert refused(pattern) - before == 1


def test_a_user_is_not_one_of_the_others_who_typed_an_input(store: Client, empty_redis: EmbeddedRedis) -> None:
    store.set("input:h-1:users", KnownInput(1_749_513_600_000, 3, (user_code("u-1"), user_code("u-2"))).as_text())

    typed = [an_event(user_id=user, input_hash="h-1") for user in ("u-1", "u-2", "u-3")]
    [(_, enriched)] = enrich(empty_redis.url)([batch(*typed, an_event(input_hash="h-9"), an_event())])

    assert enriched.columns.input_others.tolist() == [2.0, 2.0, 3.0, 0.0, 0.0]
    assert enriched.columns.input_since_ms.tolist() == [1_749_513_600_000.0] * 3 + [0.0, 0.0]


def test_a_key_of_another_type_is_as_good_as_absent(store: Client, empty_redis: EmbeddedRedis) -> None:
    store.hset("risk:d-1:score", "score", "0.5")

    assert answers(enrich(empty_redis.url), an_event()) == [(0.0, "", 0.0, 0.0)]


def test_names_with_braces_or_without_a_letter_harm_nothing(store: Client, empty_redis: EmbeddedRedis) -> None:
    store.set("risk:{0}%s:score", "0.5")
    store.set("risk::score", "0.9")

    rows = answers(enrich(empty_redis.url), an_event(device_fingerprint="{0}%s"), an_event(device_fingerprint=""))

    assert [risk for risk, *_ in rows] == [0.5, 0.0]


def test_what_was_answered_is_not_asked_again_at_once(store: Client, empty_redis: EmbeddedRedis) -> None:
    enricher = enrich(empty_redis.url)
    first = answers(enricher, an_event())
    store.set("risk:d-1:score", "0.5")

    assert answers(enricher, an_event()) == first
    assert answers(enricher, an_event(device_fingerprint="d-9", user_id="u-9")) == [(0.0, "", 0.0, 0.0)]


def test_a_batch_without_events_asks_nothing(empty_redis: EmbeddedRedis) -> None:
    [(_, enriched)] = enrich(empty_redis.url)([batch()])

    assert enriched.events.height == 0
    assert rows_of(enriched) == []
    assert enriched.degraded == ()


def test_no_answer_gives_exactly_what_absent_keys_give_and_is_named(empty_redis: EmbeddedRedis) -> None:
    events = [an_event(user_id=f"u-{number}") for number in range(50)]

    [(_, absent)] = enrich(empty_redis.url)([batch(*events)])
    [(_, degraded)] = enrich(f"redis://{LOOPBACK}:{free_port()}/0")([batch(*events)])

    assert rows_of(absent) == rows_of(degraded)
    assert (absent.degraded, degraded.degraded) == ((), ("redis",))


def test_a_redis_that_hangs_costs_its_deadline_once_and_is_left_alone_for_a_while(
    hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(at=1_000.0)
    monkeypatch.setattr("dataflows.connectors.enrichment.time", SimpleNamespace(monotonic=lambda: clock.at))
    enricher, before = enrich(hanging.url), errors()

    began = time.perf_counter()
    degraded = [enricher([batch(an_event())])[0][1].degraded for _ in range(50)]
    took = time.perf_counter() - began
    asked = len(eventually(lambda: hanging.connections))
    clock.at += 1.01
    enricher([batch(an_event())])

    assert set(degraded) == {("redis",)}
    assert DEADLINE_SECONDS <= took < 0.5
    assert asked == 1
    eventually(lambda: len(hanging.connections) == 2)
    assert errors() - before == 2


def test_when_redis_is_back_it_is_asked_again_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataflows.connectors.enrichment._BREAKER_SECONDS", 0.0)
    server = EmbeddedRedis()
    service = Service(settings_for(Path(), ENRICHMENT="redis", REDIS_URL=server.url))
    enricher = Enrich(service)

    [(_, before)] = enricher([batch(an_event())])
    reason = service.readiness.reasons["redis look-ups"]
    with server, redis.Redis.from_url(server.url) as client:
        client.set("risk:d-1:score", "0.5")
        [(_, after)] = enricher([batch(an_event())])

    assert (before.degraded, after.degraded) == (("redis",), ())
    assert reason == "ConnectionError: scoring goes on without"
    assert after.columns.device_risk.tolist() == [0.5]
    assert service.readiness.is_ready


def test_without_enrichment_nothing_is_asked_and_nothing_is_degraded() -> None:
    enricher = Enrich(Service(settings_for(Path(), ENRICHMENT="none", REDIS_URL="redis://192.0.2.1:1/0")))

    [(_, enriched)] = enricher([batch(an_event())])

    assert rows_of(enriched) == [(0.0, "", 0.0, 0.0)]
    assert enriched.degraded == ()
    assert enriched.columns.device_risk.dtype == np.float64


def test_a_memory_gives_an_answer_back_for_a_few_seconds_only() -> None:
    memory = Memory(seconds=2.0)
    memory.split(["a"], now=100.0)
    memory.keep({"a": b"1", "b": None})

    assert memory.split(["a", "b", "c"], now=101.9) == ({"a": b"1", "b": None}, ["c"])
    assert memory.split(["a"], now=102.1) == ({"a": b"1"}, [])
    assert memory.split(["a"], now=104.2) == ({}, ["a"])


def test_a_memory_that_nobody_asked_for_long_has_forgotten_all() -> None:
    memory = Memory(seconds=2.0)
    memory.split(["a"], now=100.0)
    memory.keep({"a": b"1"})

    assert memory.split(["a"], now=200.0) == ({}, ["a"])


def test_a_memory_holds_two_generations_and_no_more() -> None:
    memory = Memory(seconds=1e9, most=10)
    for number in range(100):
        memory.split([], now=1.0)
        memory.keep({f"{number}-{i}": b"" for i in range(5)})

    assert len(memory._new) + len(memory._old) <= 2 * (10 + 5)
    assert memory.split(["99-0", "0-0"], now=1.0) == ({"99-0": b""}, ["0-0"])
