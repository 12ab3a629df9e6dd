"""The load of a crash test: a thread that sends a stream to Kafka at a rate while the service lives and dies.

It waits for nobody but the test, which may pause it and set how far it may go, so that every fault happens under load.
"""

import threading
import time
from collections.abc import Callable, Iterator

from confluent_kafka import KafkaError, Message, Producer

from tests.crash.stream import Keyed

_TICK_SECONDS = 0.005
_FLUSH_SECONDS = 120.0


class LoadError(RuntimeError):
    """The load was not delivered: the test says nothing then."""


class Load(threading.Thread):
    """Sends records.

    Args:
        bootstrap: Kafka.
        topic: Where to.
        records: What to send; its end is the end of the load.
        count: How many there are.
        rate: Records a second.
    """

    def __init__(self, bootstrap: str, topic: str, records: Iterator[Keyed], count: int, rate: float) -> None:
        super().__init__(name="load", daemon=True)
        self.count = count
        self.sent = 0
        self.limit = count
        """How many it may send for now."""
        self.rewrite: Callable[[Keyed], Keyed] | None = None
        """What to make of the records from now on."""
        self._topic = topic
        self._records = records
        self._rate = rate
        self._told_to_stop = threading.Event()
        self._failed: list[str] = []
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "partitioner": "murmur2_random",
                "acks": "all",
                "linger.ms": 5,
                "queue.buffering.max.messages": 1_000_000,
                "message.timeout.ms": 300_000,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )

    def run(self) -> None:
        """Send until everything is sent, or it is told to stop."""
        due, last = 0.0, time.monotonic()
        while self.sent < self.count and not self._told_to_stop.is_set():
            now = time.monotonic()
            due = min(due + (now - last) * self._rate, self._rate)  # never makes good more than a second
            last = now
            while due >= 1 and self.sent < self.limit:
                self._send(next(self._records))
                due -= 1
            self._producer.poll(0)
            time.sleep(_TICK_SECONDS)

    def _send(self, keyed: Keyed) -> None:
        key, value = self.rewrite(keyed) if self.rewrite else keyed
        self._producer.produce(self._topic, value, key.encode(), on_delivery=self._on_delivery)
        self.sent += 1

    def _on_delivery(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failed.append(error.str())

    @property
    def is_over(self) -> bool:
        """Whether everything has been sent."""
        return self.sent >= self.count

    def flush(self) -> None:
        """Wait until what was sent is delivered.

        Raises:
            LoadError: If it is not.
        """
        left = self._producer.flush(_FLUSH_SECONDS)
        if left or self._failed:
            msg = f"{left + len(self._failed)} records of the load were not delivered: {self._failed[:1]}"
            raise LoadError(msg)

    def end(self) -> None:
        """Wait until all is sent and delivered; errors as for `flush`."""
        self.limit = self.count
        self.join()
        self.flush()
        if self.sent < self.count:
            msg = f"the load ended after {self.sent} of {self.count} records"
            raise LoadError(msg)

    def abandon(self) -> None:
        """Send no more."""
        self._told_to_stop.set()
