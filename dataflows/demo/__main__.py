"""The whole service before one's eyes: `python -m dataflows.demo [--seconds N] [--rate R] [--seed S]`, by `make run`.

Starts what is missing, shows the stream, and ends everything it has started. The last line of its output is a JSON
object with the figures of the run. No part of the service imports it.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime

from dataflows.demo.figures import summary_line
from dataflows.demo.processes import Children, DemoError, Stop, StoppedEarlyError, ending_of
from dataflows.demo.readers import FlagReader, FlowPort, ReaderError, RedisReader
from dataflows.demo.start import (
    FLOW_STOP_SECONDS,
    SIMULATOR_STOP_SECONDS,
    VAR,
    Start,
    environment_of,
    settings_of,
    without_password,
)
from dataflows.demo.terminal import Display, display, say
from dataflows.demo.watch import Watch
from dataflows.settings import Settings, SettingsError
from infra.server_process import LOOPBACK, ServerProcess, ServerStartError
from infra.topics import TopicsError
from model.command_line import argument_parser, whole

_REFRESH_SECONDS = 0.5
_READY_SECONDS = 150.0
_FIRST_EVENT_SECONDS = 60.0
_DRAIN_SECONDS = 5.0
_HURRY = 2
_MAX_RATE = 100_000


@dataclass(frozen=True, slots=True)
class Options:
    """The command line.

    Attributes:
        seconds: End after so many seconds of stream; None runs until it is told to end.
        rate: Simulated events a second; 0 simulates nothing.
        seed: Of the simulation.
    """

    seconds: int | None
    rate: float
    seed: int


def options_from(arguments: Sequence[str] | None) -> Options:
    """Read the command line; what is wrong with it is said in one line, and the exit status is 2."""
    parser = argument_parser("python -m dataflows.demo", "Run the whole service and show it.")
    parser.add_argument("--seconds", type=whole(1), help="end after so many seconds of stream; default: run on")
    parser.add_argument("--rate", type=_rate, default=50.0, help="simulated events a second, 0 for none")
    parser.add_argument("--seed", type=whole(0), default=7, help="of the simulation")
    return Options(**vars(parser.parse_args(arguments)))


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= _MAX_RATE:
        msg = f"must be a number from 0 to {_MAX_RATE}, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return rate


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo once its servers run and there is a model."""

    options: Options
    start: Start
    watch: Watch
    flow: ServerProcess

    def run(self) -> int:
        """Stream until it is over, end the simulator and the flow, and say the figures; returns the exit status."""
        with display() as shown:
            simulator = self._begin(shown)
            self._stream(shown)
            self._drain(shown, simulator)
        status = self.start.children.end(self.flow, FLOW_STOP_SECONDS)
        while self.watch.flags.poll(_REFRESH_SECONDS):
            pass
        say(summary_line(self.watch.figures, self.watch.flags.count, self.watch.redis.totals()))
        if status:
            msg = f"the flow {ending_of(status)} when it was told to end, expected exit status 0"
            raise DemoError(msg)
        return 0

    def _begin(self, shown: Display) -> ServerProcess | None:
        """Wait for the flow, then let the simulator run: nothing shall wait in Kafka for a flow that still starts."""
        until = time.monotonic() + _READY_SECONDS
        while not self.watch.port.is_ready():
            self._show(shown, "the flow is starting")
            self.start.stop.raise_if_asked()
            if time.monotonic() > until:
                msg = f"the flow was not ready within {_READY_SECONDS:g} s: {self.watch.port.url}/ready says why"
                raise DemoError(msg)
        if not self.options.rate:
            self.watch.begin()
            return None
        return self.start.simulator(self.options.rate, self.options.seed)

    def _stream(self, shown: Display) -> None:
        begun = time.monotonic()
        while not self.start.stop.asked and not self._is_over():
            self._show(shown, "running" if self.watch.seconds else "waiting for the first event")
            if self.options.seconds and self.watch.seconds is None and time.monotonic() > begun + _FIRST_EVENT_SECONDS:
                msg = f"no event was scored within {_FIRST_EVENT_SECONDS:g} s"
                raise DemoError(msg)

    def _is_over(self) -> bool:
        return self.options.seconds is not None and (self.watch.seconds or 0) >= self.options.seconds

    def _drain(self, shown: Display, simulator: ServerProcess | None) -> None:
        """End the simulator, and wait until the flow has worked off what was produced."""
        if simulator is not None:
            self.start.children.end(simulator, SIMULATOR_STOP_SECONDS)
        until = time.monotonic() + _DRAIN_SECONDS
        events = -1
        while self.start.stop.asked < _HURRY and time.monotonic() < until:
            self._show(shown, "ending")
            if self.watch.is_drained and self.watch.figures.events == events:
                return
            events = self.watch.figures.events

    def _show(self, shown: Display, phase: str) -> None:
        self.start.children.check()
        shown.show(*self.watch.look(phase))
        self.start.stop.wait(_REFRESH_SECONDS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; gives the exit status."""
    options = options_from(arguments)
    stop = Stop.on_signals()
    try:
        with ExitStack() as stack:
            return _run(options, stop, stack)
    except SettingsError as error:
        return _refuse(error, 2)
    except StoppedEarlyError as error:
        return _refuse(error, 130)
    except (DemoError, ReaderError, ServerStartError, TopicsError) as error:
        return _refuse(error, 1)
    except BrokenPipeError:  # nobody reads any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _refuse(error: Exception, status: int) -> int:
    sys.stderr.write(f"{getattr(error, 'log', '')}demo: {error}\n")
    return status


def _run(options: Options, stop: Stop, stack: ExitStack) -> int:
    env = environment_of(os.environ)
    settings_of(env)  # a bad setting is said before anything starts
    folder = VAR / "run" / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    folder.mkdir(parents=True)
    start = Start(stack, Children(stack, folder), env, folder, stop, say)
    is_embedded = start.kafka()
    start.redis()
    settings = start.settings
    redis = stack.enter_context(closing(RedisReader(settings.redis_url)))
    redis.check()
    start.model()
    if options.rate:
        start.past(options.seed)
    stores = [start.recovery_store(name, is_kept=not is_embedded) for name in (f"lane-{settings.lane}", "risk")]
    flags = stack.enter_context(closing(FlagReader(settings.kafka(), settings.flags_topic)))
    stop.raise_if_asked()
    start.risk_flow(stores[1])
    flow = start.flow(stores[0])
    port = _port(start.settings)
    addresses = _addresses(settings, port, str(folder))
    for name, address in addresses:
        say(f"{name}: {address}")
    return Demo(options, start, Watch(port, flags, redis, addresses), flow).run()


def _port(settings: Settings) -> FlowPort:
    everywhere = settings.metrics_host in {"", "0.0.0.0", "::"}  # noqa: S104 - asked for, not bound
    return FlowPort(LOOPBACK if everywhere else settings.metrics_host, settings.metrics_port)


def _addresses(settings: Settings, port: FlowPort, folder: str) -> tuple[tuple[str, str], ...]:
    return (
        ("Kafka", settings.kafka_bootstrap_servers),
        ("Redis", without_password(settings.redis_url)),
        ("metrics", f"{port.url}/metrics"),
        ("health", f"{port.url}/ready and {port.url}/live"),
        ("logs", folder),
    )


if __name__ == "__main__":
    sys.exit(main())
