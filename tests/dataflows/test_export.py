"""Events of a topic, as files: the valid ones as they were, the others counted; and a model is trained on them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer

from infra.embedded import EmbeddedKafka
from infra.server_process import free_port
from model.history import read_events
from tests.builders import a_session, framed

NewTopics = Callable[..., list[str]]


def run(kafka: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": kafka, "START_TIMEOUT": "3"}
    command = [sys.executable, "-m", "dataflows.export", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603


def produce(kafka: EmbeddedKafka, topic: str, values: list[tuple[int, bytes]]) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for partition, value in values:
        producer.produce(topic, value, b"key", partition=partition)
    assert producer.flush(30) == 0


def test_events_of_all_partitions_are_written_and_bad_records_counted(
    embedded_kafka: EmbeddedKafka, new_topics: NewTopics, tmp_path: Path
) -> None:
    (topic,) = new_topics("events")
    records = [*a_session(session_id="s-1"), *a_session(session_id="s-2", input_hash="h")]
    good = [(at % 4, framed(record)) for at, record in enumerate(records)]
    produce(embedded_kafka, topic, [*good, (1, b"none"), (2, good[0][1][:-3])])

    done = run(embedded_kafka.bootstrap_servers, topic, "--out", str(tmp_path / "events"))

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["events"] == len(records)
    assert sum(told["dead"].values()) == 2
    events, left_out = read_events(tmp_path / "events")
    assert not left_out
    assert sorted(events["event_id"]) == sorted(record["event_id"] for record in records)
    stored = pl.read_parquet(tmp_path / "events")
    assert {"partition", "offset", "kafka_ms"} <= set(stored.columns)


def test_only_events_of_the_span_are_written(
    embedded_kafka: EmbeddedKafka, new_topics: NewTopics, tmp_path: Path
) -> None:
    (topic,) = new_topics("events")
    records = a_session(["login", "page_view", "click", "logout"])
    produce(embedded_kafka, topic, [(0, framed(record)) for record in records])

    done = run(
        embedded_kafka.bootstrap_servers,
        *(topic, "--out", str(tmp_path), "--from", str(records[1]["timestamp"]), "--to", str(records[3]["timestamp"])),
    )

    assert done.returncode == 0, done.stderr
    assert read_events(tmp_path)[0]["event_id"].to_list() == [record["event_id"] for record in records[1:3]]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nothing-here", "--out", "{folder}"], 1, "no topic nothing-here"),
        (["t", "--out", "{folder}", "--from", "noon"], 2, "must be an ISO 8601 time or ms, got 'noon'"),
    ],
)
def test_what_cannot_be_exported_is_said_in_one_line(
    embedded_kafka: EmbeddedKafka, tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    done = run(embedded_kafka.bootstrap_servers, *(each.format(folder=tmp_path) for each in arguments))

    assert done.returncode == code
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_broker_that_does_not_answer_is_said_in_one_line(tmp_path: Path) -> None:
    done = run(f"127.0.0.1:{free_port()}", "t", "--out", str(tmp_path))

    assert done.returncode == 1
    assert done.stderr.startswith("export: Kafka at 127.0.0.1:")
    assert done.stderr.count("\n") == 1
