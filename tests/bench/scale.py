"""Scale: two lanes against one, the cost of an event among few and many live sessions, memory, one very hot key."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.bench import latency
from tests.bench.models import reference_model
from tests.bench.throughput import Throughput
from tests.bench.work import Work, made, read
from tests.bench.world import BenchError, Figures, World, lane, settings

CLUSTER_RATE = 2_000


@dataclass(frozen=True, slots=True)
class Size:
    """How large.

    Attributes:
        few: Live sessions.
        many: Live sessions.
        events: Measured, after all sessions are live.
        latency: Of the comparison of two lanes with the engine's cluster.
    """

    few: int
    many: int
    events: int
    latency: latency.Length


SHORT = Size(10_000, 200_000, 100_000, latency.Length(10_000, 3, 8, {CLUSTER_RATE: 1}))
LONG = Size(10_000, 1_000_000, 1_000_000, latency.Length(100_000, 10, 30, {CLUSTER_RATE: 1}))


@dataclass(frozen=True, slots=True)
class Cost:
    """Of an event while so many sessions are live."""

    cpu_us: float
    memory: int
    """Bytes of the process when all sessions are live."""
    live: int
    """Sessions in its tables then: sessions of the work end, and stay for a while."""


def cost(world: World, work: Work, warm: int) -> Cost:
    """Fill the table of sessions, then measure the rest of the work.

    Args:
        world: The servers.
        work: The work.
        warm: How many of its events come first: all sessions are live by then. The same for all that are compared, so
            that the duplicate filter holds as much.

    Raises:
        BenchError: If not every event was scored.
    """
    world.redis.flushall()
    events = read(made(work, world.folder))
    topic, flags, letters = (world.new_topic(name) for name in ("events", "flags", "letters"))
    world.produce(topic, (events[at] for at in range(warm)))
    env = settings(world, topic, flags, letters, reference_model(world.folder))
    with lane(env, world.new_folder("service")) as service:
        service.until(lambda: service.ended() >= warm, every=0.5)
        world.wait_written()
        before, memory = service.cpu, service.memory
        live = int(sum(service.samples("fraud_live_sessions").values()))
        world.produce(topic, (events[at] for at in range(warm, work.events)))
        service.until(lambda: service.ended() >= work.events, every=0.5)
        world.wait_written()
        used = service.cpu - before
        if (scored := service.records("scored")) != work.events:
            msg = f"expected {work.events} events scored, got {scored:g}"
            raise BenchError(msg)
    return Cost(used / (work.events - warm) * 1e6, memory, live)


def live_sessions(world: World, size: Size) -> Iterator[Figures]:
    """Compare few live sessions with many, and with one that has half of all events."""
    events = size.many + size.events
    few, many = (cost(world, Work(events, live, fill=True), size.many) for live in (size.few, size.many))
    yield {
        "scenario": "live_sessions",
        "few": few.live,
        "many": many.live,
        "cpu_us_an_event_few": round(few.cpu_us, 2),
        "cpu_us_an_event_many": round(many.cpu_us, 2),
        "cost_ratio": round(many.cpu_us / few.cpu_us, 2),
        "bytes_a_session": round((many.memory - few.memory) / (many.live - few.live)),
        "memory_mb_few": round(few.memory / 1e6),
        "memory_mb_many": round(many.memory / 1e6),
    }
    hot = cost(world, Work(events, size.few, fill=True, hot=0.5), size.many)
    yield {
        "scenario": "hot_key",
        "share_of_events": 0.5,
        "cpu_us_an_event": round(hot.cpu_us, 2),
        "cost_ratio": round(hot.cpu_us / few.cpu_us, 2),
    }


def lanes(runs: Throughput) -> Iterator[Figures]:
    """Compare two lanes with one by what an event costs: 2.0 is as good as can be."""
    if "throughput" not in runs.cost:
        runs.service("throughput")
    figures = runs.service("two_lanes", lanes=2)
    one, two = runs.cost["throughput"], runs.cost["two_lanes"]
    yield {**figures, "times_one_lane": round(2 * one.cpu_seconds / two.cpu_seconds, 2)}


def cluster(world: World, size: Size) -> Iterator[Figures]:
    """Compare the delay of flags of two lanes with that of two workers in the engine's own cluster."""
    load = latency.Load.of(CLUSTER_RATE, size.latency, seed=11)
    two_lanes = latency.measure(world, load, lanes=2)
    two_workers = latency.measure(world, load, workers=2)
    yield {
        "scenario": "cluster_latency",
        "events_per_second": CLUSTER_RATE,
        "unit": "ms",
        **{f"lanes_{name}": two_lanes[name] for name in ("p50", "p99", "max")},
        **{f"cluster_{name}": two_workers[name] for name in ("p50", "p99", "max")},
    }


def scenario(world: World, runs: Throughput, size: Size) -> Iterator[Figures]:
    """Run all of it."""
    yield from lanes(runs)
    yield from live_sessions(world, size)
