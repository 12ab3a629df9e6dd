"""Latency: from when an event was meant to be sent to when the broker appended the flag that it raised.

Probes, sessions of one event that the reference model flags at once, make some 200 flags a second at every rate. Every
session that is to be live is in the table before the load begins. The service does everything it does in production.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench.expected import WrongResultError
from tests.bench.models import reference_model
from tests.bench.quantiles import bucket_quantile, median_of, since, summary
from tests.bench.schedule import Schedule
from tests.bench.stalls import noted, stalls_since, together
from tests.bench.work import Events, Work, index_of, is_probe, made, read
from tests.bench.world import BenchError, Figures, Lane, World, lane, settings
from tests.crash.flow_process import REPOSITORY
from tests.crash.plain_avro import read_ours
from tests.crash.reading import read_topic

RATES = (2_000, 10_000, 40_000)
_FLAGS_A_SECOND = 200
_VISIBLE = "fraud_vector_visible_seconds"
_VISIBLE_SHARES = {"redis_visible_p50": 0.5, "redis_visible_p99": 0.99}
_SHARES = ("acknowledged_p50", "acknowledged_p99", "decided_p50", "decided_p99", *_VISIBLE_SHARES, "cpu_cores")
_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Length:
    """How long and how often.

    Attributes:
        live: Sessions in the table before the load begins.
        warm_up: Seconds that are not measured.
        seconds: Seconds that are.
        runs: By rate; the median counts.
    """

    live: int
    warm_up: int
    seconds: int
    runs: dict[int, int]


SHORT = Length(10_000, 5, 20, dict.fromkeys(RATES, 1))
LONG = Length(100_000, 10, 60, {2_000: 3, 10_000: 3, 40_000: 5})


@dataclass(frozen=True, slots=True)
class Load:
    """A load on a running service: its work, how fast, and from which second on it counts."""

    work: Work
    rate: int
    warm_up: int

    @classmethod
    def of(cls, rate: int, length: Length, seed: int) -> "Load":
        """Return the load of a rate."""
        events = length.live + rate * (length.warm_up + length.seconds)
        work = Work(events, length.live, fill=True, probes=_FLAGS_A_SECOND / rate, seed=seed)
        return cls(work, rate, length.warm_up)


def delays(schedule: Schedule, first: int, warm_up: int, flags: Iterable[tuple[int, int]]) -> dict[int, float]:
    """Return the delay of each flag that counts, in ms, by the place of its event.

    Args:
        schedule: Of the load.
        first: Place of its first event in the work.
        warm_up: Seconds of it that do not count.
        flags: Place of the triggering event, and the broker's time of the flag in ms since 1970.
    """
    from_place = first + int(warm_up * schedule.rate)
    return {
        place: appended_ms - schedule.at(place - first) * 1000 for place, appended_ms in flags if place >= from_place
    }


def measure(world: World, load: Load, workers: int = 1, lanes: int = 1) -> Figures:
    """Run one load on a service that starts anew, and return its figures.

    Raises:
        WrongResultError: If a probe was flagged twice, or something else was lost though all was read.
    """
    world.redis.flushall()
    file = made(load.work, world.folder)
    events = read(file)
    topic, flags, letters = (world.new_topic(name) for name in ("events", "flags", "letters"))
    env = settings(world, topic, flags, letters, reference_model(world.folder), ENRICHMENT="redis")
    running = [{**env, "LANE": str(number), "LANES": str(lanes)} for number in range(lanes)]
    with ExitStack() as stack:
        services = [stack.enter_context(lane(one, world.new_folder("service"), workers)) for one in running]
        world.produce(topic, (events[at] for at in range(load.work.live)))
        for service in services:
            service.until(service.is_ready)
        _until_ended(services, load.work.live)
        world.wait_written()  # the vectors of these sessions are not part of the load
        written = _written(services)
        before = noted(services)
        cpu, began = sum(one.cpu for one in services), time.monotonic()
        schedule, generator = _generate(world, topic, file, load)
        behind = not _caught_up(services, len(events))
        used = (sum(one.cpu for one in services) - cpu) / (time.monotonic() - began)
        stalls = stalls_since(before, noted(services))
        if not behind:
            world.wait_written()
        visible = visible_ms(since(written, _written(services)))
        flagged = _flags_of(world, flags)
    counted = probes_that_count(events, load, [place for place, *_ in flagged], behind=behind)
    told = _delays_of(schedule, load, [flag for flag in flagged if flag[0] in counted], len(counted))
    return {**told, **generator, **visible, "cpu_cores": round(used, 2), "stalls": stalls}


def _delays_of(schedule: Schedule, load: Load, flagged: Sequence[tuple[int, int, int]], expected: int) -> Figures:
    """Return the quantiles of the delays until a flag was appended, and until it was decided on.

    Args:
        schedule: Of the load.
        load: Says from when on they count.
        flagged: As `_flags_of` returns them.
        expected: How many flags there should be.
    """
    first = load.work.live
    found = delays(schedule, first, load.warm_up, ((at, appended_ms) for at, appended_ms, _ in flagged))
    decisions = delays(schedule, first, load.warm_up, ((at, own_ms) for at, _, own_ms in flagged))
    decided = summary(list(decisions.values()))
    missing = expected - len(found)
    return {
        **summary(list(found.values()), missing),
        "flags": len(found),
        "missing": missing,
        "decided_p50": decided["p50"],
        "decided_p99": decided["p99"],
    }


def _until_ended(services: Sequence[Lane], count: int) -> None:
    services[0].until(lambda: sum(one.ended() for one in services) >= count, every=0.1)


def _written(services: Sequence[Lane]) -> dict[float, float]:
    """Return what the services have noted of how soon vectors were in Redis, cumulative by upper bound in seconds."""
    readings = [one.buckets(_VISIBLE) for one in services]
    return {bound: sum(reading[bound] for reading in readings) for bound in readings[0]}


def visible_ms(counts: Mapping[float, float]) -> Figures:
    """Return the quantiles, in ms, of how long after its decision a vector was in Redis; None where nobody can tell.

    Args:
        counts: Of the vectors of a run, cumulative by upper bound in seconds.
    """
    found = {name: bucket_quantile(counts, share) for name, share in _VISIBLE_SHARES.items()}
    return {name: None if seconds is None else round(seconds * 1000, 1) for name, seconds in found.items()}


def _generate(world: World, topic: str, file: Path, load: Load) -> tuple[Schedule, Figures]:
    """Run the generator to its end; return its schedule, and its own share of the delays, in ms."""
    first, count = load.work.live, load.work.events - load.work.live
    command = [sys.executable, "-m", "tests.bench.generator", "--bootstrap", world.bootstrap, "--topic", topic]
    command += ["--file", str(file.resolve()), "--first", str(first), "--count", str(count), "--rate", str(load.rate)]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)  # noqa: S603
    if answer.returncode:
        msg = f"the load generator ended with {answer.returncode}:\n{answer.stderr[-2000:]}"
        raise BenchError(msg)
    told = json.loads(answer.stdout)
    share = {"generator_worst_lag": told["worst_lag_ms"]}
    share |= {f"acknowledged_{name}": told["acknowledged"][name] for name in ("p50", "p99")}
    return Schedule(told["start"], load.rate, count), share


def _caught_up(services: Sequence[Lane], count: int) -> bool:
    """Tell whether everything has come to its end within a while after the load's."""
    try:
        services[0].until(lambda: sum(one.ended() for one in services) >= count, _PATIENCE_SECONDS, every=0.25)
    except BenchError:
        if any(one.process.poll() is not None for one in services):
            raise
        return False
    time.sleep(0.2)  # the last flags are on their way
    return True


def _flags_of(world: World, topic: str) -> list[tuple[int, int, int]]:
    """Return of every flag the triggering event's place, the broker's time and our own when it was made, in ms."""
    found = []
    for message in read_topic(world.bootstrap, topic):
        flag = read_ours("fraud_flag", message.value())
        found.append((index_of(flag["event_id"]), message.timestamp()[1], flag["flagged_at"]))
    return found


def probes_that_count(events: Events, load: Load, flagged: Sequence[int], *, behind: bool) -> set[int]:
    """Return the places of the probes of a load that are measured.

    Args:
        events: Of the load.
        load: Says from when on they count.
        flagged: The place of the triggering event of every flag.
        behind: Whether the service had not read everything when we lost patience.

    Raises:
        WrongResultError: If an event has two flags, or a probe has none though everything was read.
    """
    from_place = load.work.live + load.warm_up * load.rate
    probes = {at for at in range(from_place, len(events)) if is_probe(events[at])}
    found = set(flagged)
    if len(found) != len(flagged):
        msg = f"{len(flagged) - len(found)} flags came twice, and nothing had failed"
        raise WrongResultError(msg)
    if not behind and (lost := probes - found):
        msg = f"{len(lost)} of {len(probes)} probes were never flagged, and all was read"
        raise WrongResultError(msg)
    return probes


def scenario(world: World, length: Length) -> Iterator[Figures]:
    """Measure every rate."""
    for rate in RATES:
        runs = [measure(world, Load.of(rate, length, seed)) for seed in range(length.runs[rate])]
        yield {
            "scenario": f"latency_{rate}",
            "events_per_second": rate,
            "live_sessions": length.live,
            "unit": "ms",
            **median_of(runs),
            **{name: _median(run[name] for run in runs) for name in _SHARES},
            "stalls": together(run["stalls"] for run in runs),
            "worst": None if any(run["max"] is None for run in runs) else max(run["max"] for run in runs),
            "runs": runs,
        }


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
