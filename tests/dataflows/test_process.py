"""The service as a process, on the embedded Kafka and Redis: killed, started again, stopped; and when it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from features.session import FEATURES
from infra.embedded import EmbeddedKafka, EmbeddedRedis
from infra.server_process import free_port
from model.artifacts import ArtifactShelf
from model.scorer import Scorer
from schemas import catalogue
from tests.builders import a_session, event_only, framed
from tests.reference import ReferenceAdmission, ReferenceFlags, ReferencePageWindows, ReferenceRow, ReferenceSessions
from tests.streams import long_stream

PARTITIONS = 4
EVENTS = 6_000
DEADLINE_SECONDS = 40
BAD = [b"", b"\x00\x00\x00\x00\x63nobody knows this id", b"\x00\x00\x00\x00\x01\xff\xff\xff"]


class RunningService:
    """One process of the service and how to ask it things."""

    def __init__(self, env: dict[str, str], store: Path, log: Path) -> None:
        self.port = free_port()
        self.log = log
        command = [sys.executable, "-m", "bytewax.run", "dataflows.fraud", "-r", str(store), "-s", "1", "-b", "0"]
        with log.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603 - our own
                command, env={**env, "METRICS_PORT": str(self.port)}, stdout=output, stderr=subprocess.STDOUT
            )

    def samples(self, name: str) -> dict[str, float]:
        """Return the samples of a metric by their labels as text; nothing while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=2) as response:
                lines = response.read().decode().splitlines()
        except OSError:
            return {}
        named = (line.rsplit(" ", 1) for line in lines if line.startswith((f"{name}{{", f"{name} ")))
        return {labels.removeprefix(name): float(value) for labels, value in named}

    def ready(self) -> dict[str, Any]:
        """Return what /ready says."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=2) as response:
            answer: dict[str, Any] = json.load(response)
        return answer

    def records(self, outcome: str) -> float:
        """Return how many records of all partitions ended somewhere, since their beginning."""
        samples = self.samples("fraud_partition_records")
        return sum(value for labels, value in samples.items() if f'outcome="{outcome}"' in labels)

    def wait_for(self, what: Callable[[], bool]) -> None:
        """Wait until something is so; fail with the log when the process dies or it takes too long."""
        until = time.monotonic() + DEADLINE_SECONDS
        while not what():
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < until, self.log.read_text()[-3000:]
            time.sleep(0.02)

    def wait_for_all(self, count: int) -> None:
        """Wait until so many records have come to their end."""
        ends = ("scored", "dead", "late", "duplicate")
        self.wait_for(lambda: sum(map(self.records, ends)) == count == self.records("consumed"))

    def stop(self, number: int) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=15)


class Setting:
    """Topics, stores and settings of one test."""

    def __init__(self, kafka: EmbeddedKafka, redis_url: str, topics: list[str], model_dir: Path, folder: Path) -> None:
        self.kafka = kafka
        self.redis = redis.Redis.from_url(redis_url, decode_responses=True)
        self.events, self.flags, self.dead_letters = topics
        self.store = folder / "store"
        self.log = folder / "log"
        self.store.mkdir(mode=0o700)
        subprocess.run([sys.executable, "-m", "bytewax.recovery", str(self.store), "1"], check=True)  # noqa: S603
        names = {"EVENTS_TOPIC": self.events, "FLAGS_TOPIC": self.flags, "DEAD_LETTERS_TOPIC": self.dead_letters}
        self.env = {
            **{name: value for name, value in os.environ.items() if name != "RUST_BACKTRACE"},
            **names,
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA_GROUP": f"group-{self.events}",
            "REDIS_URL": redis_url,
            "MODEL_DIR": str(model_dir),
            "SESSION_TTL": "86400",
            "PAGE_COUNT_RETENTION": str(366 * 86_400),
        }

    @contextmanager
    def running(self, **env: str) -> Iterator[RunningService]:
        """Run the service, and see that it is gone afterwards."""
        service = RunningService({**self.env, **env}, self.store, self.log)
        try:
            yield service
        finally:
            service.process.kill()
            service.process.wait()

    def produce(self, records: list[tuple[str, bytes]]) -> None:
        """Write (session id, value) pairs as a good producer would."""
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap_servers, "partitioner": "murmur2_random"})
        for key, value in records:
            producer.produce(self.events, value, key.encode())
        assert producer.flush(10) == 0

    def read(self, topic: str) -> list[Message]:
        """Read everything in a topic, partition by partition."""
        consumer = Consumer({"bootstrap.servers": self.kafka.bootstrap_servers, "group.id": "reader"})
        messages: list[Message] = []
        for partition in range(PARTITIONS):
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
            consumer.assign([TopicPartition(topic, partition, low)])
            left = high - low
            while left:
                got = consumer.consume(left, 5)
                assert got, f"{topic}: {left} records missing"
                left -= len(got)
                messages += got
        consumer.close()
        return messages

    def committed(self) -> list[int]:
        """Return the offsets that the group has published, by partition."""
        group = {"bootstrap.servers": self.kafka.bootstrap_servers, "group.id": self.env["KAFKA_GROUP"]}
        consumer = Consumer(group)
        positions = consumer.committed([TopicPartition(self.events, p) for p in range(PARTITIONS)], timeout=10)
        consumer.close()
        return [position.offset for position in positions]


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


def stream() -> list[tuple[str, bytes]]:
    """A long stream with late, duplicate and undecodable records in it."""
    records = [event_only(record) for record in long_stream(seed=3, count=EVENTS, sessions=150, calm=True).records]
    values = [(record["session_id"], framed(record | {"ip": record["ip"] or "unknown"})) for record in records]
    for number in range(60, 0, -1):
        start_ms = max(record["timestamp"] for record in records[: number * 20])
        attack = a_session(["login_failed"] * 12, session_id=f"attack-{number}", start_ms=start_ms)
        values[number * 20 : number * 20] = [(record["session_id"], framed(record)) for record in attack]
    for place, bad in enumerate(BAD):
        values.insert(1_000 * (place + 1), ("nobody", bad))
    return values


class Expected:
    """What the reference makes of a topic."""

    def __init__(self, setting: Setting, scorer: Scorer) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.vectors: dict[str, list[float]] = {}
        self.flags: set[tuple[str, int]] = set()
        self.outcomes: Counter[str] = Counter()
        by_partition: dict[int, list[Message]] = {}
        for message in setting.read(setting.events):
            by_partition.setdefault(message.partition() or 0, []).append(message)
        for messages in by_partition.values():
            self._read(messages, scorer)

    def _read(self, messages: list[Message], scorer: Scorer) -> None:
        admission, windows, sessions, flags = (
            ReferenceAdmission(),
            ReferencePageWindows(),
            ReferenceSessions(),
            ReferenceFlags(),
        )
        for message in messages:
            value = message.value() or b""
            if value in BAD:
                self.outcomes["dead"] += 1
                continue
            record = catalogue.read(catalogue.EVENT, value)
            offset = message.offset() or 0
            known_ip = None if record["ip"] == "unknown" else record["ip"]
            row = ReferenceRow.from_record(record | {"offset": offset, "ip": known_ip})
            verdict = admission.judge(row)
            self.outcomes["scored" if verdict == "admitted" else verdict] += 1
            if verdict != "admitted":
                continue
            page, minute_ms = windows.update(row)
            self.counts[page, datetime.fromtimestamp(minute_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")] += 1
            vector = self.vectors[row.session_id] = sessions.update(row)
            instance = sessions.instance(row.session_id)
            assert instance is not None
            score = scorer.score(_matrix(vector)).score[0]
            flag = flags.update(row.session_id, instance.first, float(score))
            if flag is not None:
                self.flags.add((flag.flag_id, offset))


def _matrix(vector: list[float]) -> Any:
    import numpy as np  # noqa: PLC0415 - only here

    return np.array([vector])


def counts_in(client: "redis.Redis[str]") -> dict[tuple[str, str], int]:
    pages = client.scan_iter("click_count:*", count=1000)
    return {
        (key.removeprefix("click_count:"), minute): int(count)
        for key in pages
        for minute, count in client.hgetall(key).items()
    }


def vectors_in(client: "redis.Redis[str]") -> dict[str, list[float]]:
    return {
        key.removeprefix("session:"): [float(hash_[name]) for name in FEATURES]
        for key in client.scan_iter("session:*", count=1000)
        if (hash_ := client.hgetall(key))
    }


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
    ],
)
def test_a_bad_setting_gives_one_line_and_exit_2(setting: Setting, env: dict[str, str], line: str) -> None:
    with setting.running(**env) as service:
        assert service.process.wait(timeout=20) == 2

    assert setting.log.read_text().splitlines() == [f"fraud: {line}"]
