"""The dead-letter topic as a tool needs it: read from here to there, the ledger of the replay group, the way back.

The group joins nothing: partitions are assigned by us, and its committed offsets are the ledger.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from dataflows.connectors.kafka_offsets import committed, offset_range
from dataflows.connectors.kafka_sink import MAX_MESSAGE_BYTES
from dataflows.letter_ledger import Ledger, LedgerError
from dataflows.letters import REPLAY_HEADER, Letter
from dataflows.settings import Settings

READ_LETTERS = 200
"""Letters at a time: after a crash so many may be sent once more."""

_ASK_SECONDS = 10.0


class LetterTopicError(RuntimeError):
    """Kafka did not do what was asked; the message is one line."""


@dataclass(frozen=True, slots=True)
class Extent:
    """A partition's letters: those with `first` <= offset < `end`."""

    partition: int
    first: int
    end: int


class LetterTopic:
    """The dead letters and the ledger.

    Args:
        settings: Where Kafka is, the topics, the group of the flow.

    Raises:
        LetterTopicError: If Kafka does not answer or has no such topic.
    """

    def __init__(self, settings: Settings) -> None:
        self.group = f"{settings.kafka_group}-dead-letters"
        self.name = settings.dead_letters_topic
        self._settings = settings
        self._said = ""
        self._ask_seconds = min(_ASK_SECONDS, settings.start_timeout_seconds)
        config = {
            **settings.kafka(),
            "group.id": self.group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "error_cb": self._on_error,
            "log_level": 0,
        }
        try:
            self._consumer = Consumer(config)
        except KafkaException as error:
            msg = f"Kafka: the settings cannot be used: {error.args[0].str()}"
            raise LetterTopicError(msg) from None
        self.partitions = self.partitions_of(self.name)

    def _on_error(self, error: KafkaError) -> None:
        self._said = error.str()

    def _fail(self, what: str, error: KafkaError) -> NoReturn:
        heard = self._consumer.poll(0)  # what the connection had to say, such as a refused password
        reason = heard.error() if heard is not None else None
        if reason is not None and error.code() == KafkaError._TIMED_OUT:  # noqa: SLF001 - librdkafka's own name
            self._said = reason.str()
        msg = f"Kafka at {self._settings.kafka_bootstrap_servers}: {what}: {self._said or error.str()}"
        raise LetterTopicError(msg) from None

    def partitions_of(self, topic: str) -> int:
        """Return how many partitions a topic has."""
        try:
            found = self._consumer.list_topics(topic, timeout=self._ask_seconds).topics[topic]
        except KafkaException as error:
            self._fail("no answer", error.args[0])
        if found.error is not None:
            self._fail(f"no topic {topic}", found.error)
        return len(found.partitions)

    def extents(self) -> list[Extent]:
        """Return what each partition holds at this moment."""
        try:
            ranges = [
                offset_range(self._consumer, self.name, partition, self._ask_seconds)
                for partition in range(self.partitions)
            ]
        except KafkaException as error:
            self._fail(f"cannot ask for the offsets of {self.name}", error.args[0])
        return [Extent(partition, low, high) for partition, (low, high) in enumerate(ranges)]

    def read(self, extent: Extent) -> Iterator[list[Letter]]:
        """Yield the letters of a partition, oldest first, some at a time."""
        if extent.first >= extent.end:
            return
        self._consumer.assign([TopicPartition(self.name, extent.partition, extent.first)])
        at = extent.first
        while at < extent.end:
            letters, at = self._poll(extent, at)
            if letters:
                yield letters

    def _poll(self, extent: Extent, at: int) -> tuple[list[Letter], int]:
        """Return the next letters and where to go on."""
        first = self._consumer.poll(_ASK_SECONDS)
        if first is None:
            msg = f"{self.name}: partition {extent.partition} gives nothing at offset {at} for {_ASK_SECONDS:g} s"
            raise LetterTopicError(msg)
        letters = []
        for message in [first, *self._consumer.consume(READ_LETTERS - 1, 0)]:
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own name
                self._fail(f"cannot read {self.name}", error)
            at = extent.end if error is not None else int(message.offset() or 0) + 1
            if error is None and at <= extent.end:
                letters.append(_letter(message))
        return letters, at

    def ledger(self, extent: Extent) -> Ledger:
        """Return the ledger of a partition."""
        found = self._committed(extent.partition)
        try:
            return Ledger.from_committed(found.offset, found.metadata, extent.first)
        except LedgerError as error:
            msg = f"group {self.group}, partition {extent.partition}: {error}"
            raise LetterTopicError(msg) from None

    def _committed(self, partition: int) -> TopicPartition:
        try:
            return committed(self._consumer, self.name, partition, self._ask_seconds)
        except KafkaException as error:
            self._fail(f"group {self.group}: cannot read the ledger", error.args[0])

    def commit(self, partition: int, ledger: Ledger) -> None:
        """Make a ledger the one that counts."""
        at = TopicPartition(self.name, partition, ledger.next_offset, metadata=ledger.metadata())
        try:
            self._consumer.commit(offsets=[at], asynchronous=False)
        except KafkaException as error:
            self._fail(f"group {self.group}: cannot write the ledger", error.args[0])

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()


def _letter(message: Message) -> Letter:
    offset, value = int(message.offset() or 0), message.value()
    raw = value.encode() if isinstance(value, str) else value
    return Letter.read(int(message.partition() or 0), offset, message.timestamp()[1], raw)


class WayBack:
    """Sends records back to where they came from: the same topic and partition, bytes, key and headers.

    The partition is the original one, and not that of the key: it has the session's state.

    Args:
        settings: Where Kafka is, and how long a delivery may take.
    """

    def __init__(self, settings: Settings) -> None:
        self._seconds = settings.delivery_timeout_seconds
        self._failure: KafkaError | None = None
        self._producer = Producer(
            {
                **settings.kafka(),
                "enable.idempotence": True,
                "acks": "all",
                "message.max.bytes": MAX_MESSAGE_BYTES,
                "message.timeout.ms": self._seconds * 1000,
                "log_level": 0,
            }
        )

    def send(self, letters: Sequence[Letter]) -> None:
        """Send the letters' records, and wait until the brokers have them all.

        Raises:
            LetterTopicError: If they have not; some may have arrived.
        """
        for letter in letters:
            if letter.record is not None:
                self._send_one(letter.place, letter.record)
        left = self._producer.flush(self._seconds + 1)
        if left or self._failure is not None:
            reason = self._failure.str() if self._failure is not None else f"{left} records not delivered"
            msg = f"the way back: {reason}; the ledger was not moved"
            raise LetterTopicError(msg)

    def _send_one(self, place: str, record: dict[str, Any]) -> None:
        headers = [(header["name"], header["value"]) for header in record["headers"]]
        try:
            self._producer.produce(
                record["topic"],
                record["value"],
                record["key"],
                partition=record["partition"],
                headers=[*headers, (REPLAY_HEADER, place.encode())],
                on_delivery=self._on_delivery,
            )
        except (KafkaException, BufferError) as error:
            msg = f"the way back: letter {place} cannot be sent: {error}"
            raise LetterTopicError(msg) from None

    def _on_delivery(self, error: KafkaError | None, _: Message) -> None:
        self._failure = self._failure or error
