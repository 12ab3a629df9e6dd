"""Topics, a Redis and the command for the tests of dead letters."""

from dataclasses import dataclass
from typing import Any

import pytest
import redis
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from dataflows.connectors.page_counts import WATERMARKS_KEY
from dataflows.dead_letters import main
from infra.embedded import EmbeddedKafka
from schemas import catalogue
from tests.builders import A_MINUTE_MS

PARTITIONS = 2
HOUR_MS = 3_600_000
WRITTEN_MS = A_MINUTE_MS + HOUR_MS


def a_letter(value: bytes | None, reason: str = "unknown_schema", **overrides: Any) -> dict[str, Any]:
    """Return a dead letter record for a value."""
    return {
        "value": value,
        "key": b"s-1",
        "headers": [{"name": "trace", "value": b"\x00\xff"}, {"name": "none", "value": None}],
        "topic": "",
        "partition": 1,
        "offset": 4711,
        "timestamp": A_MINUTE_MS,
        "reason": reason,
        "stage": "decode",
        "error": "words",
        "code_version": "0.1.0",
    } | overrides


@dataclass
class LetterBox:
    """A dead-letter topic, the topic that its letters came from, and the command."""

    kafka: EmbeddedKafka
    redis: Any
    events: str
    letters: str
    output: pytest.CaptureFixture[str]

    def put(self, *letters: dict[str, Any] | bytes, partition: int = 0, at_ms: int = WRITTEN_MS) -> None:
        """Write dead letters to one partition; those without a topic are from ours, bytes are written as they are."""
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap_servers})
        for letter in letters:
            if isinstance(letter, dict):
                record = letter | {"topic": letter["topic"] or self.events}
                letter = catalogue.frame(catalogue.DEAD_LETTER.id, catalogue.DEAD_LETTER, record)  # noqa: PLW2901
            producer.produce(self.letters, letter, b"s-1", partition=partition, timestamp=at_ms)
            assert producer.flush(10) == 0

    def publish(self, watermark_ms: int, *partitions: int) -> None:
        """Publish watermarks as the flow would."""
        for partition in partitions or range(PARTITIONS):
            self.redis.hset(WATERMARKS_KEY, str(partition), f"{watermark_ms}:idle")

    def sent_back(self) -> list[Message]:
        """Return what is in the events topic."""
        consumer = Consumer({"bootstrap.servers": self.kafka.bootstrap_servers, "group.id": "reader"})
        messages: list[Message] = []
        for partition in range(PARTITIONS):
            _, high = consumer.get_watermark_offsets(TopicPartition(self.events, partition), timeout=10)
            consumer.assign([TopicPartition(self.events, partition, 0)])
            messages += consumer.consume(high, 10) if high else []
        consumer.close()
        return messages

    def run(self, *argv: str) -> tuple[int, str, str]:
        """Run the command; return its exit code, output and errors."""
        self.output.readouterr()
        try:
            code = main(argv)
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *self.output.readouterr()

    def totals(self, *argv: str) -> dict[str, int]:
        """Run a command that must succeed; return the totals that it printed."""
        code, out, error = self.run(*argv)
        assert (code, error) == (0, "")
        rows = [line.split() for line in out.splitlines()[1:]]
        return {row[1].rstrip(":"): int(row[0].replace(",", "")) for row in rows}


def client_of(url: str) -> Any:
    """Return a client of a Redis."""
    return redis.Redis.from_url(url, decode_responses=True)
