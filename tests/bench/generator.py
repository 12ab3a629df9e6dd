"""The open load as a program of its own: `python -m tests.bench.generator --help`.

Events are framed before it starts; in ticks of a millisecond it sends what is due by the schedule. It prints when the
schedule starts, and at its end how far behind it was at worst: a delay of the generator, which counts as the service's.
"""

import argparse
import gc
import json
import sys
import time
from functools import partial
from pathlib import Path

from confluent_kafka import Producer

from tests.bench.quantiles import summary
from tests.bench.schedule import Schedule
from tests.bench.work import KEY, Events, read

_TICK_SECONDS = 0.001
_LINGER_MS = 2
"""Without it the broker gets a request for nearly every event and wants the core that the service needs."""
_LEAD_SECONDS = 0.5
_FLUSH_SECONDS = 60
_SAMPLED = 50


class Generator:
    """Sends a part of some work."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._topic = topic
        room = {"queue.buffering.max.messages": 2_000_000, "linger.ms": _LINGER_MS, "acks": "1"}
        self._producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", **room})
        self._producer.list_topics(topic, timeout=10)
        self.acknowledged_ms: list[float] = []
        """Of some events: how long after they were meant to be sent the broker had them, the way back included."""

    def run(self, events: Events, first: int, schedule: Schedule) -> float:
        """Send events from a place on by a schedule; return the worst lag behind it, in seconds."""
        values = [events[first + at] for at in range(schedule.count)]
        gc.freeze()
        sent, worst = 0, 0.0
        while sent < schedule.count:
            time.sleep(_TICK_SECONDS)
            due = schedule.due(now := time.time())
            if due > sent:
                worst = max(worst, now - schedule.at(sent))
            for place in range(sent, due):
                value = values[place]
                if place % _SAMPLED:
                    self._producer.produce(self._topic, value, value[KEY])
                else:
                    noted = partial(self._note, schedule.at(place))
                    self._producer.produce(self._topic, value, value[KEY], on_delivery=noted)
            sent = max(sent, due)
            self._producer.poll(0)
        if self._producer.flush(_FLUSH_SECONDS):
            msg = "not all of the load was delivered"
            raise RuntimeError(msg)
        return worst

    def _note(self, meant: float, _error: object, _message: object) -> None:
        self.acknowledged_ms.append((time.time() - meant) * 1000)


def main() -> int:
    """Run it once."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.generator")
    for name, kind in (("bootstrap", str), ("topic", str), ("file", Path), ("first", int), ("count", int)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    parser.add_argument("--rate", type=float, required=True)
    given = parser.parse_args()
    events, generator = read(given.file), Generator(given.bootstrap, given.topic)
    # The list of values is made before the first is due: a hundred thousand take 50 ms.
    schedule = Schedule(time.time() + _LEAD_SECONDS + given.count / 1e6, given.rate, given.count)
    worst = generator.run(events, given.first, schedule)
    told = {"start": schedule.start, "worst_lag_ms": round(worst * 1000, 1)}
    sys.stdout.write(json.dumps({**told, "acknowledged": summary(generator.acknowledged_ms)}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
