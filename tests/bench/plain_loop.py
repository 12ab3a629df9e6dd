"""The yardstick: a plain program that does the work one record at a time; `python -m tests.bench.plain_loop --help`.

What an engineer writes in an afternoon: a Kafka consumer, fastavro, a dictionary of sessions, one call of the model a
batch, a redis-py pipeline, a producer of flags. No recovery, no duplicate filter, no late events, no dead letters, no
reasons. It ends at the topic's present end, and its one line of output is JSON.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any, NamedTuple

import numpy as np
import redis
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from features.session import FEATURES
from model.artifacts import Artifact
from tests.bench.decoding import record_of
from tests.bench.expected import Flag, FlagRule
from tests.bench.models import current
from tests.bench.plain_sessions import PlainSessions
from tests.crash.oracle import minute_name
from tests.crash.reading import ranges

BATCH = 5_000
_SESSION_SECONDS = 1_800


class Done(NamedTuple):
    """What came of a batch."""

    flags: list[Flag]
    minutes: dict[tuple[str, int], int]
    """The counts that changed, by page and first millisecond of the minute."""
    newest: dict[str, list[float]]
    """The newest vector of each session."""


class PlainWork:
    """The work on a batch, and its state; no clients.

    Args:
        model: What scores.
    """

    def __init__(self, model: Artifact) -> None:
        self._model = model
        self._sessions, self._rule = PlainSessions(), FlagRule()
        self._counts: Counter[tuple[str, int]] = Counter()

    def __call__(self, values: Sequence[bytes]) -> Done:
        """Do it for records with these values, at least one."""
        rows, vectors, newest = [], [], {}
        touched = set()
        for value in values:
            record = record_of(value)
            minute = record["page"], record["timestamp"] // 60_000 * 60_000
            self._counts[minute] += 1
            touched.add(minute)
            session, vector = self._sessions.update(record)
            rows.append((record["session_id"], session.first, record["event_id"]))
            vectors.append(vector)
            newest[record["session_id"]] = vector
        scores = self._model.manifest.calibration.scores_of(self._model.model.decision_function(np.array(vectors)))
        flags = list(self._rule.flags(rows, scores.tolist()))
        return Done(flags, {minute: self._counts[minute] for minute in touched}, newest)


class PlainLoop:
    """Its clients."""

    def __init__(self, bootstrap: str, topics: tuple[str, str], redis_url: str, model_dir: Path) -> None:
        self.events, self._flags = topics
        self._ends = ranges(bootstrap, self.events)
        self._work = PlainWork(current(model_dir))
        self._redis = redis.Redis.from_url(redis_url)
        self._producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 5})
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "plain", "enable.auto.commit": False})
        self._consumer.assign([TopicPartition(self.events, partition, 0) for partition in self._ends])

    def run(self) -> int:
        """Do everything; return how many records that were."""
        wanted, done = sum(high for _, high in self._ends.values()), 0
        while done < wanted:
            messages = self._consumer.consume(BATCH, 0.2)
            self._work_on(messages)
            done += len(messages)
        self._producer.flush()
        self._consumer.close()
        return done

    def _work_on(self, messages: list[Message]) -> None:
        if not messages:
            return
        done = self._work([message.value() or b"" for message in messages])
        for session_id, event_id, level in done.flags:
            flag = {"session_id": session_id, "event_id": event_id, "level": level}
            self._producer.produce(self._flags, json.dumps(flag).encode(), session_id.encode())
        self._producer.poll(0)
        self._write(done)

    def _write(self, done: Done) -> None:
        pipeline: Any = self._redis.pipeline(transaction=False)
        for (page, minute_ms), count in done.minutes.items():
            pipeline.hset(f"click_count:{page}", minute_name(minute_ms), count)
        for session_id, vector in done.newest.items():
            pipeline.hset(f"session:{session_id}", mapping=dict(zip(FEATURES, vector, strict=True)))
            pipeline.expire(f"session:{session_id}", _SESSION_SECONDS)
        pipeline.execute()


def cpu_seconds() -> float:
    """Return the CPU time of this process, all of its threads, in user and in system mode."""
    usage = getrusage(RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> int:
    """Run it once."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.plain_loop")
    for name in ("bootstrap", "events", "flags", "redis"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--model-dir", required=True, type=Path)
    given = parser.parse_args()
    loop = PlainLoop(given.bootstrap, (given.events, given.flags), given.redis, given.model_dir)
    started, cpu_at_start = time.monotonic(), cpu_seconds()
    events = loop.run()
    figures = {"events": events, "seconds": time.monotonic() - started, "cpu_at_start": cpu_at_start}
    sys.stdout.write(json.dumps({**figures, "cpu": cpu_seconds()}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
