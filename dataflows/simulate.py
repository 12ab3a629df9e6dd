"""`python -m dataflows.simulate`: the simulated bank, live into Kafka, at an exact rate.

An open loop: an event is sent when it is due, whether or not the broker keeps up, and its timestamp is that moment.
A small share of undecodable records and of repeats comes with it, as in life.
"""

import argparse
import csv
import json
import os
import random
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from dataflows.settings import Settings, SettingsError
from model.command_line import number, whole
from model.simulator import Bank, SimulatedEvent, SimulatorConfig
from model.simulator.history import LABELS
from schemas import catalogue

TICK_SECONDS = 0.001
_MOST_A_TICK = 1_000
_START_SECONDS = 5.0
_TRY_SECONDS = 1.0
_FLUSH_SECONDS = 30.0
_REPEAT_AFTER = 20
_CUT_BYTES = 9


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 1 where something was not delivered, 2 for bad arguments."""
    stop = Stop()
    for asked in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked, stop.ask)
    given = _arguments(argv)
    try:
        settings = Settings.from_env(os.environ)
        with ExitStack() as stack:
            labels = stack.enter_context(_labels_file(given.labels)) if given.labels else None
            producer = _connect(settings, stop)
            config = replace(SimulatorConfig(), customers=given.customers, attack_share=given.attack_share)
            bank = Bank(config, given.seed, given.rate)
            stream = bank.events(start_ms=time.time_ns() // 1_000_000)
            spoilt = Spoiler(given.seed, given.bad_share, given.duplicate_share).spoil(stream)
            last = round(given.rate * given.seconds) if given.seconds else None
            summary = Sender(producer, given.topic, stop, labels).send(spoilt, given.rate, last)
    except SettingsError as error:
        sys.stderr.write(f"simulate: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"simulate: --labels: cannot write {given.labels}: {error.strerror}\n")
        return 2
    except KafkaException as error:
        reason = error.args[0].str()
        sys.stderr.write(f"simulate: Kafka at {settings.kafka_bootstrap_servers} does not answer: {reason}\n")
        return 1
    sys.stdout.write(json.dumps(summary) + "\n")
    return 1 if summary["failed"] else 0


class Stop:
    """Whether somebody asked for the end."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self, *_: object) -> None:
        """Ask for it: nothing more is sent, what was sent is still delivered. Answers a signal."""
        self.asked = True


class Spoiler:
    """Puts bad records and repeats into a stream, instead of good events, so that the rate stays exact.

    Args:
        seed: As for the stream.
        bad_share: Records that cannot be decoded.
        duplicate_share: Records that were sent a moment ago.
    """

    def __init__(self, seed: int, bad_share: float, duplicate_share: float) -> None:
        self._dice = random.Random(f"{seed}/spoiler")  # noqa: S311 - a simulation, not a secret
        self._bad_share = bad_share
        self._duplicate_share = duplicate_share

    def spoil(self, stream: Iterator[SimulatedEvent]) -> Iterator[tuple[SimulatedEvent, bytes]]:
        """Yield each event with the value to send."""
        recent: deque[tuple[SimulatedEvent, bytes]] = deque(maxlen=_REPEAT_AFTER)
        for event in stream:
            value = catalogue.frame(catalogue.EVENT.id, catalogue.EVENT, event.record)
            chance = self._dice.random()
            if chance < self._bad_share:
                yield replace(event, label=0), value[:-_CUT_BYTES]  # nobody can read it: it is no onset
            elif chance < self._bad_share + self._duplicate_share and recent:
                yield recent[0]
            else:
                yield event, value
                recent.append((event, value))


class Sender:
    """Sends a stream on time, and counts what became of it.

    Args:
        producer: Where to.
        topic: Which topic.
        stop: Ends it early.
        labels: A file that gets the onset of every attack as csv, or None.
    """

    def __init__(self, producer: Producer, topic: str, stop: Stop, labels: TextIO | None) -> None:
        self._producer = producer
        self._topic = topic
        self._stop = stop
        self._labels = csv.writer(labels) if labels else None
        self._labelled: set[str] = set()
        self._failed = 0

    def send(self, stream: Iterator[tuple[SimulatedEvent, bytes]], rate: float, last: int | None) -> dict[str, Any]:
        """Send events as they become due.

        Args:
            stream: Events and values, one for each moment k / rate.
            rate: Events a second.
            last: How many, or None for no end.

        Returns:
            The summary that is printed at the end.
        """
        start = time.monotonic()
        sent, latest_ms = 0, 0.0
        while not self._stop.asked and sent != last:
            due = int((time.monotonic() - start) * rate) + 1
            due = min(due, last or due, sent + _MOST_A_TICK)  # deliveries and signals do not wait behind a backlog
            for _ in range(due - sent):
                latest_ms = max(latest_ms, (time.monotonic() - start - sent / rate) * 1000)
                self._send_one(*next(stream))
                sent += 1
            self._producer.poll(0)
            time.sleep(TICK_SECONDS)
        seconds = time.monotonic() - start
        self._failed += self._producer.flush(_FLUSH_SECONDS)
        return {
            "produced": sent,
            "seconds": round(seconds, 3),
            "rate": round(sent / max(seconds, TICK_SECONDS), 1),
            "max_late_ms": round(latest_ms, 1),
            "failed": self._failed,
        }

    def _send_one(self, event: SimulatedEvent, value: bytes) -> None:
        if event.label and self._labels is not None and event.session_id not in self._labelled:
            self._labelled.add(event.session_id)
            onset_ms = event.record["timestamp"]
            known_ms = onset_ms + event.known_after_ms
            self._labels.writerow([event.session_id, 1, event.kind, event.record["event_id"], onset_ms, known_ms])
        try:
            self._producer.produce(self._topic, value, event.session_id.encode(), on_delivery=self._on_delivery)
        except BufferError:  # the open loop does not wait for a broker
            self._failed += 1

    def _on_delivery(self, error: KafkaError | None, _: Message) -> None:
        self._failed += error is not None


def _labels_file(path: Path) -> TextIO:
    file = path.open("w", newline="", encoding="utf-8")
    csv.writer(file).writerow(LABELS.names())
    return file


def _connect(settings: Settings, stop: Stop) -> Producer:
    """Return a producer that has reached the broker.

    Raises:
        KafkaException: If it does not answer, in time or before the end was asked for.
    """
    producer = Producer(
        {
            **settings.kafka(),
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 2,
            "queue.buffering.max.messages": 1_000_000,
            "log_level": 2,
        }
    )
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            producer.list_topics(timeout=_TRY_SECONDS)
        except KafkaException:
            if stop.asked or time.monotonic() > deadline:
                raise
        else:
            return producer


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> Any:
        """Write the line and end with 2."""
        self.exit(2, f"simulate: {message}\n")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    bank = SimulatorConfig()
    parser = _Parser(prog="python -m dataflows.simulate", description="Send a simulated bank's events to Kafka.")
    parser.add_argument("--rate", type=number(0.001, 1e6), default=50.0, help="events a second (50)")
    parser.add_argument("--seconds", type=number(0, 1e9), default=0.0, help="how long; 0 until it is told to end (0)")
    parser.add_argument("--seed", type=int, default=7, help="of everything random (7)")
    parser.add_argument("--customers", type=whole(2), default=bank.customers, help=f"of the bank ({bank.customers})")
    parser.add_argument(
        "--attack-share", type=number(0, 0.5), default=bank.attack_share, help=f"of sessions ({bank.attack_share:g})"
    )
    parser.add_argument("--topic", default=os.environ.get("EVENTS_TOPIC", "clickstream-events"))
    parser.add_argument("--labels", type=Path, help="write the onset of every attack to this csv file")
    parser.add_argument("--bad-share", type=number(0, 1), default=0.002, help="undecodable records (0.002)")
    parser.add_argument("--duplicate-share", type=number(0, 1), default=0.002, help="repeated records (0.002)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
