"""`make crash-test`, or `python -m tests.crash`: runs crash tests, prints the seed first and the verdict last."""

import argparse
import json
import os
import platform
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.real_kafka import RealKafka
from tests.crash.faults import FAULTS
from tests.crash.report import write_report
from tests.crash.scene import KINDS, InconclusiveError, Options, Scene

VAR = Path("var/crash")
MISTAKES = (
    *("lost", "phantom", "wrong_counts", "wrong_vectors", "wrong_decisions", "wrong_letters", "conservation_wrong"),
    *("raw_repeats", "raw_repeats_allowed"),
)
_SECONDS_A_KILL = 7.0
_FAULT_EVENTS = 12_000
_FAULT_RATE = 1_000.0
_FAULT_KILLS = 4
_CALM_RATE = 300.0
_ATTEMPTS = 3
_KILLS = ("kill", "one_of_three_brokers_killed")
_ALONE = (*_KILLS, "kill_with_keys")

Test = tuple[str, Options]


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for; return 0 only if nothing at all was wrong."""
    arguments = _arguments(argv)
    if arguments.list:
        sys.stdout.writelines(f"{name:20} {fault.sentence}\n" for name, fault in FAULTS.items())
        return 0
    if arguments.report:
        write_report(VAR, Path("RELIABILITY.md"))
        return 0
    seed = secrets.randbelow(10**6) if arguments.seed is None else arguments.seed
    _say(f"seed {seed}")
    results = list(_run_all(list(_tests(arguments, seed)), arguments.jobs))
    summary = _sum(results, seed)
    _say(json.dumps(summary))
    return 0 if summary["ok"] else 1


def _tests(arguments: argparse.Namespace, seed: int) -> Iterator[Test]:
    """Yield the tests: those named, else the kills on all kinds of Kafka and then, unless short, every other fault."""
    if arguments.fault or arguments.kafka or arguments.events or arguments.kills:
        for name in arguments.fault or ["kill"]:
            yield name, _options(arguments, name, arguments.kafka or FAULTS[name].kafka, seed)
        return
    yield "kill", _kills("embedded", 60_000, 5, seed)
    reason = RealKafka.available()
    if reason is None:
        yield "kill", _kills("real", *((1_000_000, 50) if arguments.long else (200_000, 5)), seed)
        yield "one_of_three_brokers_killed", _kills("cluster", 200_000, 5, seed)
    else:
        _say(f"SKIPPED: nothing was run on a real Kafka: {reason}")
    if not arguments.short:
        for name in [name for name in FAULTS if name not in _KILLS]:
            yield name, _options(arguments, name, FAULTS[name].kafka, seed)


def _run_all(tests: list[Test], jobs: int) -> Iterator[dict[str, Any]]:
    """Run the tests of kills one by one, so that nothing else loads the machine, then the others `jobs` at a time."""
    for name, options in tests:
        if name in _ALONE:
            yield _run(name, options)
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda test: _run(*test), (test for test in tests if test[0] not in _ALONE))


def _options(arguments: argparse.Namespace, name: str, kafka: str, seed: int) -> Options:
    if name in _KILLS:
        return _kills(kafka, arguments.events or 60_000, arguments.kills or 5, seed)
    if name == "kill_with_keys":
        return Options(kafka, arguments.events or 6_000, arguments.kills or 3, seed, _CALM_RATE)
    events = arguments.events or _FAULT_EVENTS * (6 if arguments.long else 1)
    return Options(kafka, events, arguments.kills or _FAULT_KILLS, seed, _FAULT_RATE, arguments.long)


def _kills(kafka: str, events: int, kills: int, seed: int) -> Options:
    return Options(kafka, events, kills, seed, events / max(kills * _SECONDS_A_KILL, 20))


def _run(name: str, options: Options) -> dict[str, Any]:
    """Run one test and keep its figures; a failure is a figure too."""
    started = time.monotonic()
    at = datetime.now(UTC)
    folder = VAR / f"{name}-{options.kafka}-{options.seed}-{at:%Y%m%dT%H%M%S}"
    failure: dict[str, Any] = {"kills": 0, "events": 0, **dict.fromkeys(MISTAKES, 0), "recovery_seconds_max": 0.0}
    try:
        figures = _figures(name, options, folder)
    except Exception as error:  # noqa: BLE001 - the other tests still run, and this one has failed
        figures = {**failure, "ok": False, "shown": [f"{type(error).__name__}: {error}"]}
    result = {
        "test": name,
        "seed": options.seed,
        "kafka": options.kafka,
        **figures,
        "seconds": round(time.monotonic() - started, 1),
        "command": _command(name, options),
        "at": at.isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    if result["ok"]:
        shutil.rmtree(folder)  # of a failed run everything stays, to look at
    folder.with_suffix(".json").write_text(json.dumps(result) + "\n")
    _say(_line(result))
    return result


def _figures(name: str, options: Options, folder: Path) -> dict[str, Any]:
    """Run one test, once more where a run can say nothing, and return its figures."""
    fault = FAULTS[name]
    for attempt in range(_ATTEMPTS):
        try:
            with Scene(options, folder.resolve() / str(attempt), fault.needs) as scene:
                fault.act(scene)
                return scene.judge()
        except InconclusiveError as error:
            reason = error
    raise reason


def _command(name: str, options: Options) -> str:
    long = " --long" if options.long else ""
    scale = f"--kafka {options.kafka} --events {options.events} --kills {options.kills}"
    return f"python -m tests.crash --fault {name} {scale} --seed {options.seed}{long}"


def _line(result: dict[str, Any]) -> str:
    """Return a result for a person."""
    counted = f"{result['events']} events, {result['kills']} kills"
    repeats = f"repeats {result['raw_repeats']} of {result['raw_repeats_allowed']} allowed"
    text = f"{result['test']} on {result['kafka']}: {counted}, {repeats}, {result['seconds']} s"
    if result["ok"]:
        return f"ok    {text}"
    wrong = {name: result[name] for name in MISTAKES[:-2] if result[name]}
    return "\n".join([f"WRONG {text}: {wrong}", *(f"      {line}" for line in result["shown"])])


def _sum(results: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Add up the figures of all tests."""
    totals = {name: sum(result[name] for result in results) for name in ("kills", "events", *MISTAKES)}
    return {
        **totals,
        "recovery_seconds_max": max((result["recovery_seconds_max"] for result in results), default=0.0),
        "seed": seed,
        "kafka": sorted({result["kafka"] for result in results}),
        "faults": {f"{result['test']}/{result['kafka']}": result["ok"] for result in results},
        "ok": bool(results) and all(result["ok"] for result in results),
    }


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description="Faults under load, and the verdict.")
    parser.add_argument("--kafka", choices=KINDS, help="run only there (and only kill, without --fault)")
    parser.add_argument("--events", type=int, help="records of the load")
    parser.add_argument("--kills", type=int, help="how often to kill")
    parser.add_argument("--seed", type=int, help="of everything random; default: a new one")
    parser.add_argument(
        "--fault", action="append", choices=FAULTS, metavar="NAME", help="run this one; may be repeated"
    )
    parser.add_argument("--jobs", type=int, default=2, help="how many faults at a time, kills apart (2)")
    parser.add_argument("--long", action="store_true", help="1 M events and 50 kills on a real Kafka, longer outages")
    parser.add_argument("--short", action="store_true", help="only the kills, on one broker and on three: what CI runs")
    parser.add_argument("--list", action="store_true", help="name the faults")
    parser.add_argument("--report", action="store_true", help="write RELIABILITY.md from the runs in var/crash")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
