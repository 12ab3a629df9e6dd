"""The topics of the service, created where they are missing: `python -m infra.topics --bootstrap 127.0.0.1:9092`.

Safe to run again at any time. It never changes or deletes a topic that exists; a different partition count is reported,
because every session's state belongs to its partition and a person must decide.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._metadata import ClusterMetadata
from confluent_kafka.cimpl import NewTopic

TOPICS_FILE = Path(__file__).with_name("kafka") / "topics.json"
"""Names, partitions, replication and settings of our topics."""

_POLL_SECONDS = 0.05


class TopicsError(RuntimeError):
    """Kafka did not answer or refused a topic; the message is one line."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as we want it.

    Attributes:
        name: Its name, part of the contract.
        partitions: Fixed for life: sessions are spread by it.
        replication: Wanted copies; a cluster with fewer brokers gets one a broker.
        config: Kafka's own topic settings, names and values as text.
    """

    name: str
    partitions: int
    replication: int = 1
    config: Mapping[str, str] = field(default_factory=dict)


def load_topics(file: Path = TOPICS_FILE) -> list[Topic]:
    """Read the list of topics from its JSON file."""
    return [Topic(**entry) for entry in json.loads(file.read_text())]


def create_missing(client: Mapping[str, Any], topics: Sequence[Topic], timeout_seconds: float = 30) -> list[str]:
    """Create the topics that do not exist and wait until the brokers know them.

    Args:
        client: librdkafka settings of the AdminClient, at least `bootstrap.servers`.
        topics: What should exist afterwards.
        timeout_seconds: For everything together.

    Returns:
        One line a topic, in the given order: what was done or found.

    Raises:
        TopicsError: If Kafka does not answer in time or refuses a topic.
    """
    deadline = time.monotonic() + timeout_seconds
    admin = AdminClient({"log_level": 0, **client})
    before = _metadata(admin, deadline, str(client["bootstrap.servers"]))
    missing = [topic for topic in topics if topic.name not in before.topics]
    created = _create(admin, missing, len(before.brokers), deadline)
    _wait_until_led(admin, created, deadline, str(client["bootstrap.servers"]))
    return [_line(topic, before, created) for topic in topics]


def _metadata(admin: AdminClient, deadline: float, address: str) -> ClusterMetadata:
    try:
        return admin.list_topics(timeout=max(0.1, deadline - time.monotonic()))
    except KafkaException as error:
        msg = f"Kafka at {address} did not answer in time: {error.args[0].str()}"
        raise TopicsError(msg) from None


def _create(admin: AdminClient, topics: Sequence[Topic], brokers: int, deadline: float) -> set[str]:
    """Ask for the topics and give the names of those that this call created."""
    if not topics:
        return set()
    wanted = [
        NewTopic(topic.name, topic.partitions, min(topic.replication, brokers), config=dict(topic.config))
        for topic in topics
    ]
    seconds = max(0.1, deadline - time.monotonic())
    answers = admin.create_topics(wanted, operation_timeout=seconds, request_timeout=seconds)
    return {name for name, answer in answers.items() if _was_created(name, answer)}


def _was_created(name: str, answer: Any) -> bool:
    try:
        answer.result()
    except KafkaException as error:
        cause: KafkaError = error.args[0]
        if cause.code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        msg = f"cannot create topic {name}: {cause.str()}"
        raise TopicsError(msg) from None
    return True


def _wait_until_led(admin: AdminClient, names: set[str], deadline: float, address: str) -> None:
    """Wait until every partition of the new topics has a leader: creation is acknowledged before that."""
    while names:
        known = _metadata(admin, deadline, address).topics
        if all(name in known and _is_led(known[name].partitions.values()) for name in names):
            return
        if time.monotonic() > deadline:
            msg = f"new topics have no leader in time: {', '.join(sorted(names))}"
            raise TopicsError(msg)
        time.sleep(_POLL_SECONDS)


def _is_led(partitions: Any) -> bool:
    return bool(partitions) and all(partition.leader >= 0 for partition in partitions)


def _line(topic: Topic, before: ClusterMetadata, created: set[str]) -> str:
    if topic.name in created:
        copies = min(topic.replication, len(before.brokers))
        return f"{topic.name}: created, {topic.partitions} partitions, replication {copies}"
    found = len(before.topics[topic.name].partitions) if topic.name in before.topics else topic.partitions
    if found != topic.partitions:
        return f"{topic.name}: exists with {found} partitions, expected {topic.partitions}; left as it is"
    return f"{topic.name}: exists, {found} partitions"


def main(argv: Sequence[str] | None = None) -> int:
    """Create what is missing and say what was done; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m infra.topics", description="Create the topics that are missing.")
    default = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092")
    parser.add_argument("--bootstrap", default=default, metavar="ADDRESS", help="default: %(default)s")
    parser.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS", help="default: %(default)g")
    arguments = parser.parse_args(argv)
    try:
        lines = create_missing({"bootstrap.servers": arguments.bootstrap}, load_topics(), arguments.timeout)
    except TopicsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
