"""Throughput: the service over a topic that is full already, and a plain loop over the same, both by CPU time."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.bench.expected import Expected, Flag, compare, expected
from tests.bench.models import SHIPPED, reference_model
from tests.bench.work import Work, made, read
from tests.bench.world import ONE_THREAD, BenchError, Figures, Lane, World, lane, settings
from tests.crash.flow_process import REPOSITORY
from tests.crash.reading import read_topic

_PLAIN_SECONDS = 1_800


@dataclass(frozen=True, slots=True)
class Rates:
    """What some events took.

    Attributes:
        events: How many.
        seconds: Without the start of the processes.
        cpu_seconds: Of all processes, without their start.
        start_cpu_seconds: Of the start.
        start_seconds: Of the start.
    """

    events: int
    seconds: float
    cpu_seconds: float
    start_cpu_seconds: float
    start_seconds: float

    def figures(self) -> Figures:
        """Return them as rates."""
        whole = self.cpu_seconds + self.start_cpu_seconds
        return {
            "events": self.events,
            "events_per_cpu_second": round(self.events / self.cpu_seconds),
            "events_per_cpu_second_with_start": round(self.events / whole),
            "events_per_second": round(self.events / self.seconds),
            "events_per_second_with_start": round(self.events / (self.seconds + self.start_seconds)),
            "cpu_us_an_event": round(self.cpu_seconds / self.events * 1e6, 2),
            "start_cpu_seconds": round(self.start_cpu_seconds, 2),
        }

    def ratio_to(self, other: "Rates") -> float:
        """Return how many times the events of the other a CPU second gives, starts left out."""
        return round(self.events / self.cpu_seconds / (other.events / other.cpu_seconds), 2)


class Throughput:
    """The topic, and what is run over it.

    Args:
        world: The servers.
        events: How many.
    """

    def __init__(self, world: World, events: int) -> None:
        self._world = world
        self.work = Work(events)
        self.reference = reference_model(world.folder)
        self.cost: dict[str, Rates] = {}
        """What was measured, by scenario."""

    @cached_property
    def topic(self) -> str:
        """The topic, filled when it is first wanted."""
        return self._world.topic_of(read(made(self.work, self._world.folder)))

    def plain_loop(self) -> Figures:
        """Run the yardstick, check its results, return its figures."""
        world = self._world
        world.redis.flushall()
        flags = world.new_topic("flags")
        command = [sys.executable, "-m", "tests.bench.plain_loop", "--bootstrap", world.bootstrap]
        command += ["--events", self.topic, "--flags", flags, "--redis", world.redis_url]
        command += ["--model-dir", str(self.reference.resolve())]
        started = time.monotonic()
        answer = subprocess.run(  # noqa: S603 - our own
            command,
            cwd=REPOSITORY,
            env={**os.environ, **ONE_THREAD},  # more threads for the trees only cost it CPU
            capture_output=True,
            text=True,
            check=False,
            timeout=_PLAIN_SECONDS,
        )
        whole = time.monotonic() - started
        if answer.returncode:
            msg = f"the plain loop ended with {answer.returncode}:\n{answer.stderr[-2000:]}"
            raise BenchError(msg)
        told = json.loads(answer.stdout)
        checked = compare(self.expected(self.reference), world.counts(), plain_flags(world, flags))
        cpu = told["cpu"] - told["cpu_at_start"]
        rates = Rates(told["events"], told["seconds"], cpu, told["cpu_at_start"], whole - told["seconds"])
        self.cost["plain_loop"] = rates
        return {"scenario": "plain_loop", **rates.figures(), **checked}

    def expected(self, model_dir: Path) -> Expected:
        """Return what must come of it under a model."""
        return expected(self.work, [model_dir], self._world.folder)[0]

    def service(self, name: str, **options: Any) -> Figures:
        """Run the service, check its results, return its figures; options as of `run_service`."""
        model_dir = options.pop("model_dir", self.reference)
        run = run_service(self._world, self.topic, self.work.events, model_dir, **options)
        checked = compare(self.expected(model_dir), run.counts, run.flags)
        rates = self.cost[name] = run.rates
        yardstick = self.cost.get("plain_loop")
        return {
            "scenario": name,
            **rates.figures(),
            "ratio_to_plain_loop": rates.ratio_to(yardstick) if yardstick else None,
            "ready_seconds": round(rates.start_seconds, 2),
            "memory_mb": round(run.memory / 1e6),
            **checked,
        }


def plain_flags(world: World, topic: str) -> Iterator[Flag]:
    """Read the flags of the plain loop."""
    for message in read_topic(world.bootstrap, topic):
        flag = json.loads(message.value() or b"")
        yield flag["session_id"], flag["event_id"], flag["level"]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the service over a full topic: its rates, and its results."""

    rates: Rates
    memory: int
    counts: dict[tuple[str, str], int]
    flags: list[Flag]


def run_service(
    world: World, topic: str, events: int, model_dir: Path, lanes: int = 1, workers: int = 1, **more: str
) -> Run:
    """Run the service over a full topic to its end.

    Args:
        world: The servers; Redis is emptied.
        topic: The events.
        events: How many are in it.
        model_dir: The model.
        lanes: Processes, each with a part of the partitions.
        workers: Threads of the engine in each.
        more: Settings.
    """
    world.redis.flushall()
    flags, letters = world.new_topic("flags"), world.new_topic("letters")
    env = settings(world, topic, flags, letters, model_dir, **more)
    with ExitStack() as stack:
        started = time.monotonic()
        running = []
        for number in range(lanes):
            own = {**env, "LANE": str(number), "LANES": str(lanes)}
            running.append(stack.enter_context(lane(own, world.new_folder("service"), workers)))
        rates = _watch(world, running, events, started)
        memory = sum(one.memory for one in running)
        for one in running:
            one.drain()
    return Run(rates, memory, world.counts(), list(world.flags_in(flags)))


def _watch(world: World, lanes: list[Lane], events: int, started: float) -> Rates:
    """Note time and CPU when all are ready, time when everything is scored, CPU when it is written too."""
    for one in lanes:
        one.until(one.is_ready)
    start_cpu, ready = sum(one.cpu for one in lanes), time.monotonic()
    lanes[0].until(lambda: sum(one.ended() for one in lanes) >= events, every=0.5)
    done = time.monotonic()
    world.wait_written()
    cpu = sum(one.cpu for one in lanes)
    return Rates(events, done - ready, cpu - start_cpu, start_cpu, ready - started)


def scenario(runs: Throughput) -> Iterator[Figures]:
    """Run the yardstick, and the service with the fixed model."""
    yield runs.plain_loop()
    yield runs.service("throughput")


def models(runs: Throughput) -> Iterator[Figures]:
    """Run the service with the model that we ship, and with look-ups of devices and users (Redis knows none)."""
    yield runs.service("throughput_shipped_model", model_dir=SHIPPED)
    yield runs.service("throughput_enriched", ENRICHMENT="redis")
