"""The service as a process, on the embedded Kafka and Redis: killed, started again, stopped; and when it refuses."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.embedded import EmbeddedKafka, EmbeddedRedis
from model.artifacts import ArtifactShelf
from model.scorer import Scorer
from schemas import catalogue
from tests.service import BAD, PARTITIONS, Expected, Setting, counts_in, stream, vectors_in


@pytest.fixture
def setting(
    embedded_kafka: EmbeddedKafka,
    empty_redis: EmbeddedRedis,
    new_topics: Callable[..., list[str]],
    model_dir: Path,
    tmp_path: Path,
) -> Setting:
    topics = new_topics("events", "flags", "letters", partitions=PARTITIONS)
    return Setting(embedded_kafka, empty_redis.url, topics, model_dir, tmp_path)


def test_killed_and_started_again_it_ends_where_an_uninterrupted_run_would(
    setting: Setting, model_dir: Path, model_id: str
) -> None:
    records = stream()
    setting.produce(records[:4_000])
    with setting.running() as service:
        service.wait_for(lambda: service.records("scored") > 1_000)
        service.stop(signal.SIGKILL)
    setting.produce(records[4_000:])

    with setting.running() as service:
        service.wait_for_all(len(records))
        outcomes = {name: service.records(name) for name in ("scored", "dead", "late", "duplicate")}
        assert service.ready()["ready"]
        exit_code = service.stop(signal.SIGTERM)

    expected = Expected(setting, Scorer(ArtifactShelf(model_dir).load(model_id)))
    flags = [catalogue.read(catalogue.FLAG, message.value() or b"") for message in setting.read(setting.flags)]
    letters = [catalogue.read(catalogue.DEAD_LETTER, m.value() or b"") for m in setting.read(setting.dead_letters)]
    assert exit_code == 0
    assert outcomes == dict(expected.outcomes)
    assert len(expected.flags) > 50
    assert {(flag["flag_id"], flag["offset"]) for flag in flags} == expected.flags
    assert counts_in(setting.redis) == dict(expected.counts)
    assert vectors_in(setting.redis) == expected.vectors
    assert {letter["value"] for letter in letters if letter["reason"] != "too_late"} == set(BAD)
    assert len({(letter["partition"], letter["offset"]) for letter in letters}) == (
        expected.outcomes["dead"] + expected.outcomes["late"]
    )
    assert sum(setting.committed()) == len(records)


def test_a_drained_service_repeats_nothing(setting: Setting) -> None:
    records = stream()
    produced = 0
    for more in (records[:2_000], records[2_000:3_000]):
        setting.produce(more)
        produced += len(more)
        with setting.running() as service:
            service.wait_for_all(produced)
            assert service.stop(signal.SIGTERM) == 0

    flag_ids = [catalogue.read(catalogue.FLAG, m.value() or b"")["flag_id"] for m in setting.read(setting.flags)]
    assert len(flag_ids) > 50
    assert len(flag_ids) == len(set(flag_ids))


def test_a_drain_long_after_the_last_record_still_writes_what_redis_has_not_got(setting: Setting) -> None:
    records = stream()[:500]

    with setting.running(FLUSH_INTERVAL_MS="60000") as service:
        setting.produce(records[:1])  # the first record brings the first write, the next one is a minute away
        service.wait_for(lambda: service.samples("fraud_redis_up").get("", 0) == 1)
        setting.produce(records[1:])
        service.wait_for_all(len(records))
        consumed_at = time.time()
        service.wait_for(lambda: service.samples("fraud_snapshot_timestamp_seconds").get("", 0) > consumed_at + 1)
        before = counts_in(setting.redis)
        assert service.stop(signal.SIGTERM) == 0

    assert sum(before.values()) <= 1
    assert sum(counts_in(setting.redis).values()) > 400


def test_a_second_process_on_the_same_store_is_refused_in_one_line(setting: Setting) -> None:
    with setting.running() as first:
        first.wait_for(lambda: bool(first.samples("fraud_redis_up")))
        with setting.running() as second:
            assert second.process.wait(timeout=15) != 0

    assert "another process uses it" in setting.log.read_text().splitlines()[-1]


def test_without_a_topic_it_says_which_one_and_ends(setting: Setting) -> None:
    with setting.running(FLAGS_TOPIC="no/such/topic") as service:
        assert service.process.wait(timeout=20) == 1

    assert "no topic no/such/topic" in setting.log.read_text().splitlines()[-1]


def test_an_empty_store_of_a_group_that_has_read_is_refused_unless_it_is_told_where_to_start(
    setting: Setting, tmp_path: Path
) -> None:
    records = stream()[:300]
    setting.produce(records)
    with setting.running() as service:
        service.wait_for_all(len(records))
        assert service.stop(signal.SIGTERM) == 0
    counts = counts_in(setting.redis)
    setting.store = tmp_path / "empty"
    setting.store.mkdir(mode=0o700)
    subprocess.run([sys.executable, "-m", "bytewax.recovery", str(setting.store), "1"], check=True)  # noqa: S603

    with setting.running() as refused:
        assert refused.process.wait(timeout=20) == 1
    last_line = setting.log.read_text().splitlines()[-1]
    with setting.running(START_FROM="beginning") as service:
        service.wait_for_all(len(records))
        assert service.stop(signal.SIGTERM) == 0

    assert "START_FROM" in last_line
    assert counts_in(setting.redis) == counts


@pytest.mark.parametrize(
    ("env", "line"),
    [
        ({"REVIEW_ABOVE": "1.4"}, "REVIEW_ABOVE must be a number from 0 to 1, got '1.4'"),
        ({"START_FROM": "yesterday"}, "START_FROM must be one of beginning, committed, got 'yesterday'"),
        (
            {"BYTEWAX_WORKERS_PER_PROCESS": "2"},
            "WHOLE_SNAPSHOTS must be 1 for 2 workers: all pieces of a partition's state need the same one",
        ),
    ],
)
def test_a_bad_setting_gives_one_line_and_exit_2(setting: Setting, env: dict[str, str], line: str) -> None:
    with setting.running(**env) as service:
        assert service.process.wait(timeout=20) == 2

    assert setting.log.read_text().splitlines() == [f"fraud: {line}"]
