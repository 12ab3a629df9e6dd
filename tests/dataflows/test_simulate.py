"""The simulator's command, as a process, against the embedded Kafka."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import Consumer, Message, TopicPartition

from infra.embedded import EmbeddedKafka
from infra.server_process import free_port
from schemas import catalogue

COMMAND = [sys.executable, "-m", "dataflows.simulate"]


def simulate(bootstrap: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": bootstrap}
    return subprocess.run([*COMMAND, *arguments], env=env, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603


def records_in(kafka: EmbeddedKafka, topic: str) -> list[Message]:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "reader"})
    messages: list[Message] = []
    for partition in range(4):
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
        consumer.assign([TopicPartition(topic, partition, low)])
        while high > low:
            got = consumer.consume(high - low, 5)
            assert got
            low += len(got)
            messages += got
    consumer.close()
    return messages


def test_it_sends_exactly_rate_times_seconds_events_keyed_by_session(
    embedded_kafka: EmbeddedKafka, new_topics: Callable[..., list[str]], tmp_path: Path
) -> None:
    (topic,) = new_topics("events")
    labels = tmp_path / "labels.csv"
    wanted = ["--rate", "600", "--seconds", "2", "--topic", topic, "--labels", str(labels)]

    done = simulate(embedded_kafka.bootstrap_servers, *wanted, "--bad-share", "0.05", "--duplicate-share", "0.05")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["produced"] == 1_200
    messages = records_in(embedded_kafka, topic)
    assert len(messages) == 1_200
    good, bad = [], 0
    for message in messages:
        try:
            event = catalogue.read(catalogue.EVENT, message.value() or b"")
        except (EOFError, IndexError, ValueError):
            bad += 1
            continue
        good.append(event)
        assert message.key() == event["session_id"].encode()
    assert 20 < bad < 120
    repeats = len(good) - len({(event["session_id"], event["event_id"]) for event in good})
    assert 20 < repeats < 120
    with labels.open() as file:
        rows = list(csv.DictReader(file))
    assert rows
    sent = {event["event_id"]: event for event in good}
    for row in rows:
        onset = sent[row["onset_event_id"]]
        assert (row["session_id"], row["onset_at"]) == (onset["session_id"], str(onset["timestamp"]))
        assert row["label"] == "1"
        assert int(row["known_at"]) > int(row["onset_at"])


def test_a_signal_ends_it_with_everything_delivered(
    embedded_kafka: EmbeddedKafka, new_topics: Callable[..., list[str]]
) -> None:
    (topic,) = new_topics("events")
    env = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": embedded_kafka.bootstrap_servers}
    command = [*COMMAND, "--rate", "300", "--topic", topic]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        consumer = Consumer({"bootstrap.servers": embedded_kafka.bootstrap_servers, "group.id": "waits"})
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(4)])
        assert consumer.consume(1, 30)
        consumer.close()
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)

    assert process.returncode == 0
    assert json.loads(output)["produced"] == len(records_in(embedded_kafka, topic))


def test_bad_arguments_give_one_line_and_exit_2() -> None:
    done = simulate("127.0.0.1:1", "--rate", "fast")

    assert done.returncode == 2
    assert done.stderr.splitlines() == ["simulate: argument --rate: must be a number from 0.001 to 1e+06, got 'fast'"]


def test_a_label_file_that_cannot_be_written_gives_one_line_and_exit_2(tmp_path: Path) -> None:
    labels = tmp_path / "missing" / "labels.csv"

    done = simulate("127.0.0.1:1", "--labels", str(labels))

    assert done.returncode == 2
    assert done.stderr.splitlines() == [f"simulate: --labels: cannot write {labels}: No such file or directory"]


def test_a_broker_that_does_not_answer_gives_one_line_and_exit_1() -> None:
    done = simulate(f"127.0.0.1:{free_port()}")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("simulate: Kafka at 127.0.0.1:")
