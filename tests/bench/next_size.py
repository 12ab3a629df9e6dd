"""The model of the next size: what a rate would need, by arithmetic over what was measured on one lane.

No result stands here: `plan` turns `Measured` into `Plan`, and what was not measured is a constant with its source.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from features.live_sessions import DEFAULT_LATENESS_MS
from features.session import SESSION_GAP_MS
from tests.bench.work import EVENTS_A_SECOND, EVENTS_A_SESSION, KEY, Work, make
from tests.bench.world import SNAPSHOT_SECONDS

RATE = 1_000_000
HEADROOM = 0.6
"""No lane, Redis thread, broker or session table is planned above this share of what it can do: a rule of ours."""
PARTITIONS_A_LANE = 2
"""At least: so that the number of lanes can be doubled without a new topic."""

GAP_SECONDS = Work(events=0).live / EVENTS_A_SECOND
"""Between two events of a session, on average: of the fixed work."""
KEPT_SECONDS = (SESSION_GAP_MS + DEFAULT_LATENESS_MS) / 1000
"""How long a session stays in the table after its last event: `LiveSessions._sweep`, default settings."""
MOST_SESSIONS_A_PARTITION = 1_000_000
"""Default of MAX_LIVE_SESSIONS: beyond it sessions are evicted, which costs exactness."""

FLUSH_SECONDS = 0.25
"""Default of FLUSH_INTERVAL_MS."""
SESSION_TTL_SECONDS = 1_800
"""Default of SESSION_TTL, from the first write of a hash."""
REDIS_US_A_WRITE = 11.0
"""Of one Redis thread for HSET of 24 fields and EXPIRE: measured in an earlier study of this project."""
REDIS_BYTES_A_SESSION = 864
"""MEMORY USAGE of such a hash, mean of 397 sessions of the fixed work in Valkey 9.1.2."""

REPLICATION = 3
READERS = 1
"""Who reads each topic from its leaders, besides the followers."""
RETENTION_SECONDS = 24 * 3_600
RECORD_BYTES = 10
"""Around key and value of a record in a batch (format 2): lengths, attributes, deltas of time and offset, headers."""
FLAG_BYTES = 1_580
"""Key and value of a flag, mean of 209 flags of the fixed work under the reference model."""
BROKER_DISK_MB = 500.0
"""Sequential writes a second of a broker's disk, MB: an assumption (an SSD behind SATA)."""
BROKER_NETWORK_MB = 1_250.0
"""A second and direction, MB: an assumption (10 Gbit/s)."""

SNAPSHOT_BYTES_A_SESSION = 115
"""One session in the recovery store: DECISIONS.md, 19."""
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Measured:
    """What the benchmark says of one lane.

    Attributes:
        cpu_us: CPU time of an event, us, of all threads.
        lane_rate: Events a second of wall time.
        cost_ratio: How many times as much an event costs among many live sessions as among few.
        bytes_a_session: Memory of the process for a live session.
        empty_bytes: Memory of the process without one.
        event_bytes: Of one event in Kafka, key and framing included, not compressed.
        flags_share: Flags by events.
    """

    cpu_us: float
    lane_rate: float
    cost_ratio: float
    bytes_a_session: float
    empty_bytes: float
    event_bytes: float
    flags_share: float

    @property
    def capacity(self) -> float:
        """Events a second that fill a lane: by wall time or by one core, whichever is less, among many sessions."""
        return min(self.lane_rate, 1e6 / self.cpu_us) / max(self.cost_ratio, 1.0)


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that can be full.

    Attributes:
        name: What.
        utilisation: Demand by what it can do, with the planned lanes and partitions, one Redis thread and as few
            brokers as there are copies; 1 is full.
        figure: What makes it so full.
    """

    name: str
    utilisation: float
    figure: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rate needs.

    Attributes:
        rate: Events a second.
        lanes: Processes.
        partitions: Of the events topic: as many on each lane.
        sessions: In the tables of all lanes.
        lane_bytes: Memory of one lane.
        hot_room: Events a second that one session may have beyond its share before its lane is full.
        flags: A second.
        redis_writes: Hashes a second.
        redis_shards: Redis threads.
        redis_bytes: Of the hashes.
        broker_in: Bytes a second that all brokers take and write, copies included.
        broker_out: Bytes a second that they send, to followers and readers.
        brokers: How many.
        disk_bytes: Of all copies over the retention.
        recovery_state: Bytes of state that a lane reads back at its start.
        recovery_events: Bytes of events that it reads again after a kill, at most.
        resources: The fullest first.
    """

    rate: float
    lanes: int
    partitions: int
    sessions: float
    lane_bytes: float
    hot_room: float
    flags: float
    redis_writes: float
    redis_shards: int
    redis_bytes: float
    broker_in: float
    broker_out: float
    brokers: int
    disk_bytes: float
    recovery_state: float
    recovery_events: float
    resources: tuple[Resource, ...] = ()

    @property
    def cores(self) -> int:
        """One a lane and one a Redis thread; those of the brokers were not measured."""
        return self.lanes + self.redis_shards

    @property
    def memory_bytes(self) -> float:
        """Of all lanes."""
        return self.lanes * self.lane_bytes

    @property
    def bottlenecks(self) -> tuple[Resource, ...]:
        """The three fullest, the fullest first."""
        return self.resources[:_SHOWN]


def newest_share(interval_seconds: float, gap_seconds: float) -> float:
    """Return the share of events that are the newest of their session within an interval: as many hashes are written.

    Sessions have their events at random, independent of each other: of x = interval / gap events a session on average,
    a session has none with probability e^-x, so that 1 - e^-x hashes are written for x events.
    """
    events = interval_seconds / gap_seconds
    return -math.expm1(-events) / events


def event_bytes() -> float:
    """Return the bytes of an event of the fixed work in Kafka, not compressed."""
    events = make(Work(events=2_000, live=200))
    return len(events.data) / len(events) + (KEY.stop - KEY.start) + RECORD_BYTES


def plan(measured: Measured, rate: float) -> Plan:
    """Compute what a rate needs, in events a second, above 0."""
    lanes = _units(rate, measured.capacity)
    sessions = rate / EVENTS_A_SESSION * (EVENTS_A_SESSION * GAP_SECONDS + KEPT_SECONDS)
    tables = _units(sessions, MOST_SESSIONS_A_PARTITION)
    writes = rate * newest_share(FLUSH_SECONDS, GAP_SECONDS)
    flags = rate * measured.flags_share
    produced = rate * measured.event_bytes + flags * FLAG_BYTES
    taken, sent = produced * REPLICATION, produced * (REPLICATION - 1 + READERS)
    sized = Plan(
        rate=rate,
        lanes=lanes,
        partitions=lanes * max(PARTITIONS_A_LANE, math.ceil(tables / lanes)),
        sessions=sessions,
        lane_bytes=measured.empty_bytes + sessions / lanes * measured.bytes_a_session,
        hot_room=measured.capacity - rate / lanes,
        flags=flags,
        redis_writes=writes,
        redis_shards=_units(writes * REDIS_US_A_WRITE, 1e6),
        redis_bytes=rate / EVENTS_A_SESSION * SESSION_TTL_SECONDS * REDIS_BYTES_A_SESSION,
        broker_in=taken,
        broker_out=sent,
        brokers=max(
            REPLICATION, _units(taken / 1e6, BROKER_DISK_MB), _units(max(taken, sent) / 1e6, BROKER_NETWORK_MB)
        ),
        disk_bytes=taken * RETENTION_SECONDS,
        recovery_state=sessions / lanes * SNAPSHOT_BYTES_A_SESSION,
        recovery_events=rate / lanes * SNAPSHOT_SECONDS * measured.event_bytes,
    )
    return replace(sized, resources=_resources(measured, sized))


def _units(demand: float, of_one: float) -> int:
    """Return how many are needed, none of them above the headroom."""
    return max(1, math.ceil(demand / (of_one * HEADROOM) - 1e-9))


def _resources(measured: Measured, sized: Plan) -> tuple[Resource, ...]:
    """Return how full everything is with the planned lanes, one Redis and the smallest cluster; the fullest first."""
    writes, by_lane = sized.redis_writes, sized.rate / sized.lanes
    by_table = sized.sessions / sized.partitions
    disk_mb = sized.broker_in / REPLICATION / 1e6
    network_mb = max(sized.broker_in, sized.broker_out) / REPLICATION / 1e6
    found = {
        "Redis writes": (
            writes * REDIS_US_A_WRITE / 1e6,
            f"{writes:,.0f} hashes/s of {REDIS_US_A_WRITE:g} us each on one Redis thread",
        ),
        "CPU of a lane": (
            by_lane / measured.capacity,
            f"{by_lane:,.0f} events/s on each of {sized.lanes:,} lanes, of {measured.capacity:,.0f} that fill one",
        ),
        "Session table of a partition": (
            by_table / MOST_SESSIONS_A_PARTITION,
            f"{by_table:,.0f} sessions in each of {sized.partitions:,}, of {MOST_SESSIONS_A_PARTITION:,} allowed",
        ),
        "Disk of a broker": (
            disk_mb / BROKER_DISK_MB,
            f"{disk_mb:,.0f} MB/s written by each of {REPLICATION}, of {BROKER_DISK_MB:,.0f} assumed",
        ),
        "Network of a broker": (
            network_mb / BROKER_NETWORK_MB,
            f"{network_mb:,.0f} MB/s a direction at each of {REPLICATION}, of {BROKER_NETWORK_MB:,.0f} assumed",
        ),
    }
    resources = (Resource(name, utilisation, figure) for name, (utilisation, figure) in found.items())
    return tuple(sorted(resources, key=lambda one: one.utilisation, reverse=True))


Newest = Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]
"""By scenario: the newest run that measured it, and its figures."""


def measured_in(newest: Newest, bytes_an_event: float) -> dict[str, Measured]:
    """Return by scenario, look-ups off and on, what was measured; nothing without the figures of `live_sessions`."""
    if not _is_measured("live_sessions", newest):
        return {}
    sessions = newest["live_sessions"][1]
    costs = {name: newest[name][1] for name in _LOOK_UPS if _is_measured(name, newest)}
    return {
        name: Measured(
            cpu_us=figures["cpu_us_an_event"],
            lane_rate=figures["events_per_second"],
            cost_ratio=sessions["cost_ratio"],
            bytes_a_session=sessions["bytes_a_session"],
            empty_bytes=sessions["memory_mb_few"] * 1e6 - sessions["few"] * sessions["bytes_a_session"],
            event_bytes=bytes_an_event,
            flags_share=figures["checked_flags"] / figures["checked_events"],
        )
        for name, figures in costs.items()
    }


def _is_measured(name: str, newest: Newest) -> bool:
    """Tell whether a scenario has all the figures that this takes; an older run may lack some."""
    return name in newest and all(newest[name][1].get(figure) is not None for figure in _FIGURES[name])


def section(newest: Newest, bytes_an_event: float, rate: float = RATE) -> list[str]:
    """Return the section as lines of Markdown; a run that is missing is named, and nothing is guessed in its place.

    Args:
        newest: The newest figures of each scenario.
        bytes_an_event: In Kafka, key and framing included.
        rate: Events a second.
    """
    plans = {name: plan(one, rate) for name, one in measured_in(newest, bytes_an_event).items()}
    lines = [f"## What {rate:,.0f} events/s would need", ""]
    lines += [_INTRODUCTION, "", *(_source(name, newest) for name in _MEASURED_BY), ""]
    if not plans:
        return [*lines, "Not computed: it takes `live_sessions` and one of the throughputs."]
    return [*lines, *_table(plans), "", *_told_bottlenecks(plans), "", *_assumptions()]


_LOOK_UPS = {"throughput": "look-ups off", "throughput_enriched": "look-ups on"}
_MEASURED_BY = {"throughput": "throughput", "throughput_enriched": "models", "live_sessions": "scale"}
"""By scenario: what `--only` calls it."""

_OF_EVENTS = ("cpu_us_an_event", "events_per_second", "checked_flags", "checked_events")
_OF_SESSIONS = ("few", "many", "cost_ratio", "bytes_a_session", "memory_mb_few")
_FIGURES = {"throughput": _OF_EVENTS, "throughput_enriched": _OF_EVENTS, "live_sessions": _OF_SESSIONS}
"""By scenario: what this takes of it."""

_INTRODUCTION = """\
Nobody has run this: it is arithmetic (`tests/bench/next_size.py`) over the newest figures of one lane, and over the
assumptions below. It says what to measure next, and what would break first."""


def _source(name: str, newest: Newest) -> str:
    """Return what was measured by a scenario and when, or that it was not."""
    if not _is_measured(name, newest):
        return f"- Missing: `{name}` has not been measured (`python -m tests.bench --only {_MEASURED_BY[name]}`)."
    run, figures = newest[name]
    told = ", ".join(f"{figure} {figures[figure]:,g}" for figure in _FIGURES[name])
    return f"- `{name}` of {run['at'][:16]}{' (short)' if run['short'] else ''}: {told}"


def _table(plans: Mapping[str, Plan]) -> list[str]:
    columns = [dict(_rows(one)) for one in plans.values()]
    lines = [f"| | {' | '.join(_LOOK_UPS[name] for name in plans)} |", f"|---|{'---|' * len(plans)}"]
    return lines + [f"| {row} | {' | '.join(column[row] for column in columns)} |" for row in columns[0]]


def _rows(one: Plan) -> list[tuple[str, str]]:
    by_lane = one.rate / one.lanes
    return [
        ("lanes", f"{one.lanes:,} at {by_lane:,.0f} events/s"),
        ("partitions", f"{one.partitions:,}, {one.partitions // one.lanes} a lane"),
        ("cores, without the brokers'", f"{one.cores:,}: {one.lanes:,} for lanes, {one.redis_shards:,} for Redis"),
        ("live sessions", f"{one.sessions / 1e6:,.1f} million"),
        ("memory of the lanes", f"{_gb(one.memory_bytes)}, {_gb(one.lane_bytes)} a lane"),
        ("Redis writes", f"{one.redis_writes:,.0f} hashes/s"),
        ("Redis shards", f"{one.redis_shards:,}, {_gb(one.redis_bytes)} of hashes in all"),
        ("brokers", f"{one.brokers:,}"),
        ("brokers in, copies included", _mb_a_second(one.broker_in)),
        ("brokers out, to followers and readers", _mb_a_second(one.broker_out)),
        (f"disk for {RETENTION_SECONDS // 3_600} h", f"{one.disk_bytes / 1e12:,.1f} TB"),
        ("flags", f"{one.flags:,.0f}/s"),
        ("recovery of a lane: state read back", _mb(one.recovery_state)),
        ("recovery of a lane: events read again", f"up to {_mb(one.recovery_events)}"),
        ("room of one session on its lane", f"{one.hot_room:,.0f} events/s"),
    ]


def _gb(count: float) -> str:
    return f"{count / 1e9:,.1f} GB"


def _mb(count: float) -> str:
    return f"{count / 1e6:,.0f} MB"


def _mb_a_second(count: float) -> str:
    return f"{_mb(count)}/s"


def _told_bottlenecks(plans: Mapping[str, Plan]) -> list[str]:
    name, one = list(plans.items())[-1]
    lines = [f"What is fullest then ({_LOOK_UPS[name]}), if there is but one Redis and {REPLICATION} brokers:", ""]
    for place, resource in enumerate(one.bottlenecks, 1):
        lines.append(f"{place}. {resource.name}, {resource.utilisation:,.0%}: {resource.figure}.")
    return lines


def _assumptions() -> list[str]:
    life = EVENTS_A_SESSION * GAP_SECONDS
    share = newest_share(FLUSH_SECONDS, GAP_SECONDS)
    text = f"""\
Assumptions:

- Nothing is planned above {HEADROOM:.0%} of what it can do. What fills a lane is its wall rate, or one core's worth
  of its CPU time where that is less, divided by `cost_ratio`: a lane of this size has many live sessions. Lanes share
  nothing, so that twice as many do twice as much. At least {PARTITIONS_A_LANE} partitions a lane, and as many as keep
  the session tables within MAX_LIVE_SESSIONS at its default. Keys spread evenly.
- Sessions are those of the fixed work: {EVENTS_A_SESSION} events, {GAP_SECONDS:g} s apart on average, {life:g} s in
  all. They stay in memory for {KEPT_SECONDS:,g} s more (30 minutes of pause and LATENESS_SECONDS at its default).
  Memory is without headroom.
- Redis: {REDIS_US_A_WRITE:g} us of one thread for HSET of 24 fields and EXPIRE (an earlier study of this project).
  Only the newest vector of a session is written in a flush interval of {FLUSH_SECONDS * 1000:g} ms: writes = rate x
  (1 - e^-x) / x with x = interval / {GAP_SECONDS:g} s, {share:.1%} of the events, if sessions are independent of each
  other (a writer that rests longer under load writes less). A hash has
  {REDIS_BYTES_A_SESSION} bytes and lives {SESSION_TTL_SECONDS:,} s. Page counts and look-ups are not
  in it: what they cost Redis was not measured. The service knows one REDIS_URL: to spread the hashes by lane has to be
  built, and page counts belong to all lanes.
- Kafka: an event has the bytes of the fixed work with key and framing, a flag {FLAG_BYTES:,}; no compression;
  {REPLICATION} copies on as many brokers at least; {READERS} reader. Assumed: {BROKER_DISK_MB:,.0f} MB/s to a broker's
  disk, {BROKER_NETWORK_MB:,.0f} MB/s a direction through its network. CPU of brokers was not measured.
- Recovery: {SNAPSHOT_BYTES_A_SESSION} bytes a session in the store (DECISIONS.md, 19), a snapshot every
  {SNAPSHOT_SECONDS} s."""
    return text.splitlines()
