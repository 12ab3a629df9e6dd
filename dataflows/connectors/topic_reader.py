"""A stretch of a topic, for tools: from an offset to an offset, and no further."""

import time
from collections.abc import Iterator
from typing import NoReturn, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from dataflows.connectors.kafka_offsets import offset_range
from dataflows.settings import Settings

MOST_AT_ONCE = 10_000
_ASK_SECONDS = 10.0
_TRY_SECONDS = 0.2


class TopicReaderError(RuntimeError):
    """Kafka did not give what was asked for; the message is one line."""


class TopicReader:
    """Reads stretches of one topic; joins no group and commits nothing.

    Args:
        settings: Where Kafka is.
        topic: Its name.
    """

    def __init__(self, settings: Settings, topic: str) -> None:
        self.topic = topic
        self._address = settings.kafka_bootstrap_servers
        self._seconds = min(_ASK_SECONDS, settings.start_timeout_seconds)
        config = {
            **settings.kafka(),
            "group.id": f"{settings.kafka_group}-tools",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "log_level": 0,
        }
        try:
            self._consumer = Consumer(config)
        except KafkaException as error:
            self._fail("the settings cannot be used", error.args[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def partitions(self) -> list[int]:
        """Return the partitions of the topic."""
        try:
            found = self._consumer.list_topics(self.topic, timeout=self._seconds).topics[self.topic]
        except KafkaException as error:
            self._fail("no answer", error.args[0])
        if found.error is not None:
            self._fail(f"no topic {self.topic}", found.error)
        return sorted(found.partitions)

    def extent(self, partition: int) -> tuple[int, int]:
        """Return the first offset that is still there, and the one that comes next."""
        try:
            return offset_range(self._consumer, self.topic, partition, self._seconds)
        except KafkaException as error:
            self._fail(f"cannot ask for the offsets of {self.topic}", error.args[0])

    def read(self, partition: int, first: int, end: int) -> Iterator[list[Message]]:
        """Yield the records with first <= offset < end, some at a time.

        Raises:
            TopicReaderError: If Kafka stops answering.
        """
        self._consumer.assign([TopicPartition(self.topic, partition, first)])
        reached, heard = first, time.monotonic()
        while reached < end:
            records = []
            for message in self._consumer.consume(MOST_AT_ONCE, _TRY_SECONDS):
                error, offset = message.error(), message.offset() or 0
                if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - their name
                    reached = end
                elif error is not None:
                    self._fail(f"cannot read {self.topic}", error)
                elif offset < end:
                    records.append(message)
                    reached = max(reached, offset + 1)
                else:
                    reached = end
            if records:
                heard = time.monotonic()
                yield records
            elif reached < end and time.monotonic() > heard + self._seconds:
                msg = f"Kafka at {self._address}: cannot read {self.topic}: nothing for {self._seconds:g} s"
                raise TopicReaderError(msg)

    def _fail(self, what: str, error: KafkaError) -> NoReturn:
        msg = f"Kafka at {self._address}: {what}: {error.str()}"
        raise TopicReaderError(msg) from None
