"""The flow to Kafka: every message is delivered, or the flow stops; a restart then produces it again."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from dataflows.connectors.first_contact import with_right
from dataflows.service import Service

logger = logging.getLogger("fraud.sink")

MAX_MESSAGE_BYTES = 2 * 1024 * 1024
"""A dead letter is larger than the record in it; the topic's `max.message.bytes` must allow it."""

_ROOM_SECONDS = 0.1


class DeliveryError(RuntimeError):
    """A message could not be delivered to Kafka."""


class Outgoing(NamedTuple):
    """A message to send."""

    key: bytes | None
    value: bytes
    headers: list[tuple[str, str | bytes | None]]
    on_delivered: Callable[[], None]
    """Called once the brokers have it."""


class Deliveries:
    """The process's producer: idempotent, acknowledged by all replicas, and never silent.

    Args:
        service: For the settings.
    """

    def __init__(self, service: Service) -> None:
        self._timeout_seconds = service.settings.delivery_timeout_seconds
        self._failure: str | None = None
        self._producer = Producer(
            {
                **service.settings.kafka(),
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 0,
                "message.max.bytes": MAX_MESSAGE_BYTES,
                "partitioner": "murmur2_random",
                "message.timeout.ms": self._timeout_seconds * 1000,
                "error_cb": service.on_kafka_error,
            },
            logger=logger,
        )

    def send(self, topic: str, message: Outgoing) -> None:
        """Hand a message to the producer; wait for room if it is full.

        Raises:
            DeliveryError: If it or an earlier one cannot be delivered.
        """
        until = time.monotonic() + self._timeout_seconds
        while True:
            try:
                self._producer.produce(
                    topic,
                    message.value,
                    message.key,
                    headers=message.headers,
                    on_delivery=partial(self._on_delivery, message.on_delivered),
                )
            except BufferError:
                if time.monotonic() > until:
                    msg = f"topic {topic}: no room for messages within {self._timeout_seconds} s"
                    raise DeliveryError(msg) from None
                self._producer.poll(_ROOM_SECONDS)
                self._raise_failure()
            except KafkaException as error:
                reason = with_right(error.args[0], f"WRITE on topic {topic}")
                msg = f"topic {topic}: a message of {len(message.value)} bytes is refused: {reason}"
                raise DeliveryError(msg) from None
            else:
                return

    def serve(self) -> None:
        """Take what the brokers have said.

        Raises:
            DeliveryError: If they have refused a message.
        """
        self._producer.poll(0)
        self._raise_failure()

    def flush(self) -> None:
        """Wait until everything is delivered.

        Raises:
            DeliveryError: If something is not.
        """
        left = self._producer.flush(self._timeout_seconds + 1)
        self._raise_failure()
        if left:
            msg = f"{left} messages not delivered within {self._timeout_seconds} s"
            raise DeliveryError(msg)

    def _on_delivery(self, on_delivered: Callable[[], None], error: KafkaError | None, sent: Message) -> None:
        if error is None:
            on_delivered()
        elif self._failure is None:
            topic = sent.topic()
            self._failure = (
                f"topic {topic}: a message was not delivered: {with_right(error, f'WRITE on topic {topic}')}"
            )

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise DeliveryError(self._failure)


@dataclass(frozen=True, slots=True)
class KafkaSink(FixedPartitionedSink[Any, None]):
    """Writes the messages that it finds in each item to one topic.

    It is in the engine's barrier, one part a partition of ours, so that an epoch is durable only when its messages
    are delivered.

    Attributes:
        service: The process.
        deliveries: Makes the producer, once a process.
        topic: Where to.
        messages: The messages of an item.
    """

    service: Service
    deliveries: Callable[[], Deliveries]
    topic: str
    messages: Callable[[Any], Iterable[Outgoing]]

    def list_parts(self) -> list[str]:
        """Return one part a partition."""
        return self.service.lane.keys()

    def part_fn(self, item_key: str) -> int:
        """Give every partition its own part."""
        return self.service.lane.part_of(item_key)

    def build_part(self, _step_id: str, _for_part: str, _resume_state: None) -> "KafkaPart":
        """Open a part: it has no state, what it was given is delivered before a snapshot ends."""
        return KafkaPart(self.deliveries(), self.topic, self.messages)


@dataclass(frozen=True, slots=True)
class KafkaPart(StatefulSinkPartition[Any, None]):
    """One partition's way to the topic."""

    deliveries: Deliveries
    topic: str
    messages: Callable[[Any], Iterable[Outgoing]]

    def write_batch(self, values: list[Any]) -> None:
        """Send the messages of these items."""
        for value in values:
            for message in self.messages(value):
                self.deliveries.send(self.topic, message)
        self.deliveries.serve()

    def snapshot(self) -> None:
        """Let the epoch end only when everything is delivered."""
        self.deliveries.flush()
