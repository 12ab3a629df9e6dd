"""`make bench`, or `python -m tests.bench`: measures, prints one JSON line a scenario and a table last.

Figures of a shared machine are noisy: what a change may not make worse is checked by a ratio (`--check`).
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from infra.real_kafka import RealKafka
from tests.bench import inside, latency, scale, start, throughput
from tests.bench.expected import WrongResultError
from tests.bench.machine import facts
from tests.bench.report import table, write_report
from tests.bench.throughput import Throughput
from tests.bench.world import BenchError, Figures, World

VAR = Path("var/bench")
SCENARIOS = ("throughput", "models", "inside", "latency", "scale", "cluster", "start")
SHORT_SCENARIOS = ("throughput", "inside", "latency", "scale", "start")
SHORT_EVENTS, EVENTS = 500_000, 4_000_000
RATIO_FLOOR = 3.0
"""What `ratio_to_plain_loop` of the throughput may not fall below: some two thirds of what a busy machine gave."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for; return 0 only if all results were right and no floor was broken."""
    arguments = _arguments(argv)
    if arguments.report:
        write_report(VAR, Path("PERFORMANCE.md"))
        return 0
    if (reason := RealKafka.available()) is not None:
        _say(f"cannot measure: {reason}")
        return 1
    began = time.monotonic()
    with World(VAR) as world:
        machine = facts(world)
        _say(json.dumps({"machine": machine, "redis_program": world.redis_program, "load": os.getloadavg()[0]}))
        figures, is_right = _measured(
            world, arguments.only or (SHORT_SCENARIOS if arguments.short else SCENARIOS), short=arguments.short
        )
    _keep({"at": machine["at"], "short": arguments.short, "machine": machine, "figures": figures})
    _say(table(figures))
    _say(f"{time.monotonic() - began:.0f} s")
    return 0 if is_right and (not arguments.check or is_fast_enough(figures)) else 1


def _measured(world: World, names: Sequence[str], *, short: bool) -> tuple[list[Figures], bool]:
    """Run scenarios; return their figures, and whether all came to their end with results that are right."""
    figures: list[Figures] = []
    try:
        for one in _scenarios(world, names, short=short):
            figures.append({**one, "load": round(os.getloadavg()[0], 2)})
            _say(json.dumps(figures[-1]))
    except (BenchError, WrongResultError) as error:
        _say(f"WRONG: {error}")
        return figures, False
    return figures, True


def _scenarios(world: World, names: Sequence[str], *, short: bool) -> Iterator[Figures]:
    size = scale.SHORT if short else scale.LONG
    runs = Throughput(world, SHORT_EVENTS if short else EVENTS)
    measure: dict[str, Callable[[], Iterator[Figures]]] = {
        "throughput": lambda: throughput.scenario(runs),
        "models": lambda: throughput.models(runs),
        "inside": lambda: inside.scenario(runs.reference),
        "latency": lambda: latency.scenario(world, latency.SHORT if short else latency.LONG),
        "scale": lambda: scale.scenario(world, runs, size),
        "cluster": lambda: scale.cluster(world, size),
        "start": lambda: start.scenario(world),
    }
    for name in names:
        yield from measure[name]()


def is_fast_enough(figures: Sequence[Figures], floor: float = RATIO_FLOOR) -> bool:
    """Tell whether the throughput was measured and is at least so many times that of the plain loop."""
    ratios = [one["ratio_to_plain_loop"] for one in figures if one["scenario"] == "throughput"]
    if ratios and min(ratios) >= floor:
        return True
    _say(f"TOO SLOW: ratio_to_plain_loop must be at least {floor}, got {ratios or 'none'}")
    return False


def _keep(run: Figures) -> None:
    name = f"result-{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    (VAR / name).write_text(json.dumps(run) + "\n")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Rates, delays and costs, checked.")
    parser.add_argument("--short", action="store_true", help="under 5 minutes: less work, one run a rate")
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="run this; may be repeated")
    parser.add_argument("--check", action="store_true", help="fail where the throughput's ratio is below its floor")
    parser.add_argument("--report", action="store_true", help="write PERFORMANCE.md from the runs in var/bench")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
