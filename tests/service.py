"""The service as a process, and what a test needs around it: topics and stores, a stream, what should come of it."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import redis
from bytewax.recovery import init_db_dir
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from features.session import FEATURES
from infra.server_process import free_port
from model.scorer import Scorer
from schemas import catalogue
from tests.builders import a_session, event_only, framed
from tests.reference import ReferenceAdmission, ReferencePageWindows, ReferenceRow, ReferenceSessions
from tests.reference_flags import ReferenceFlags
from tests.streams import long_stream

PARTITIONS = 4
EVENTS = 6_000
DEADLINE_SECONDS = 40
BAD = [b"", b"\x00\x00\x00\x00\x63nobody knows this id", b"\x00\x00\x00\x00\x01\xff\xff\xff"]


class SomeKafka(Protocol):
    """Any of our brokers: embedded, real, a cluster, secured."""

    @property
    def bootstrap_servers(self) -> str:
        """Where it is."""


class RunningService:
    """One process of a flow and how to ask it things."""

    def __init__(self, env: dict[str, str], store: Path, log: Path, flow: str = "fraud", workers: int = 1) -> None:
        self.port = free_port()
        self.log = log
        command = [sys.executable, "-m", "bytewax.run", f"dataflows.{flow}", "-r", str(store), "-s", "1", "-b", "0"]
        command += ["-w", str(workers)] if workers > 1 else []
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
        """Return what /ready says, also when it says no (503)."""
        try:
            response = urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=2)
        except urllib.error.HTTPError as refusal:
            response = refusal
        with response:
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
    """Topics, stores and settings of one test.

    Args:
        kafka: Where the topics are.
        redis_url: Where Redis is.
        topics: Events, flags, dead letters: made already, with `PARTITIONS` each.
        model_dir: The model.
        folder: For the recovery store and the log.
        client: How the test's own clients connect, when the address is not enough.
        env: More settings of the service.
    """

    def __init__(
        self,
        kafka: SomeKafka,
        redis_url: str,
        topics: list[str],
        model_dir: Path,
        folder: Path,
        *,
        client: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.client = dict(client or {"bootstrap.servers": kafka.bootstrap_servers})
        self.redis = redis.Redis.from_url(redis_url, decode_responses=True)
        self.events, self.flags, self.dead_letters = topics
        self.store = folder / "store"
        self.log = folder / "log"
        self.store.mkdir(mode=0o700)
        init_db_dir(self.store, 1)  # type: ignore[no-untyped-call]
        names = {"EVENTS_TOPIC": self.events, "FLAGS_TOPIC": self.flags, "DEAD_LETTERS_TOPIC": self.dead_letters}
        self.env = {
            **{name: value for name, value in os.environ.items() if name != "RUST_BACKTRACE"},
            **names,
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA_GROUP": f"group-{self.events}",
            "REDIS_URL": redis_url,
            "MODEL_DIR": str(model_dir),
            "SESSION_TTL": "86400",
            **(env or {}),
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
        """Write (session id, value) pairs of events as a good producer would."""
        self.produce_to(self.events, records)

    def produce_to(self, topic: str, records: list[tuple[str, bytes]]) -> None:
        """Write (key, value) pairs to any topic."""
        producer = Producer({**self.client, "partitioner": "murmur2_random"})
        for key, value in records:
            producer.produce(topic, value, key.encode())
        assert producer.flush(10) == 0

    def read(self, topic: str) -> list[Message]:
        """Read everything in a topic, partition by partition."""
        consumer = Consumer({**self.client, "group.id": "reader"})
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
        consumer = Consumer({**self.client, "group.id": self.env["KAFKA_GROUP"]})
        positions = consumer.committed([TopicPartition(self.events, p) for p in range(PARTITIONS)], timeout=10)
        consumer.close()
        return [position.offset for position in positions]


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
        admission, windows, sessions = ReferenceAdmission(), ReferencePageWindows(), ReferenceSessions()
        scored: list[tuple[str, int, int]] = []
        vectors: list[list[float]] = []
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
            scored.append((row.session_id, instance.first, offset))
            vectors.append(vector)
        # All at once: a call for each takes a minute where other processes want the cores too.
        flags = ReferenceFlags()
        scores = scorer.score(np.array(vectors)).score if vectors else ()
        for (session_id, first, offset), score in zip(scored, scores, strict=True):
            flag = flags.update(session_id, first, float(score))
            if flag is not None:
                self.flags.add((flag.flag_id, offset))


def counts_in(client: redis.Redis) -> dict[tuple[str, str], int]:
    """Return the page counts in Redis."""
    pages = client.scan_iter("click_count:*", count=1000)
    return {
        (key.removeprefix("click_count:"), minute): int(count)
        for key in pages
        for minute, count in cast("dict[str, str]", client.hgetall(key)).items()
    }


def vectors_in(client: redis.Redis) -> dict[str, list[float]]:
    """Return the session vectors in Redis."""
    return {
        key.removeprefix("session:"): [float(hash_[name]) for name in FEATURES]
        for key in client.scan_iter("session:*", count=1000)
        if (hash_ := client.hgetall(key))
    }
