"""Start: seconds from the start of the process to the broker's time of its first flag, with and without a past."""

import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.models import reference_model
from tests.bench.work import Work, index_of, made, read
from tests.bench.world import Figures, World, lane, settings
from tests.crash.plain_avro import read_ours
from tests.crash.reading import ranges, read_topic

SESSIONS = 100_000
_EMPTY = Work(2_000, 1_000, probes=0.2)
_WITH_PAST = Work(SESSIONS + 2_000, SESSIONS, fill=True, probes=0.2)


def seconds_to_first_flag(world: World, env: dict[str, str], folder: Path, first: int) -> float:
    """Start the service; return after how many seconds it raised a flag for an event from a place on."""
    flags = env["FLAGS_TOPIC"]
    before = _appended(world, flags)
    started = time.time()
    with lane(env, folder) as service:
        service.until(lambda: _appended(world, flags) > before, every=0.1)
        time.sleep(0.5)
    messages = [(read_ours("fraud_flag", message.value()), message) for message in read_topic(world.bootstrap, flags)]
    times = [message.timestamp()[1] for flag, message in messages if index_of(flag["event_id"]) >= first]
    return min(at for at in times if at > started * 1000) / 1000 - started


def _appended(world: World, topic: str) -> int:
    return sum(high for _, high in ranges(world.bootstrap, topic).values())


def scenario(world: World) -> Iterator[Figures]:
    """Start it with an empty store, then with one that has many sessions to restore."""
    world.redis.flushall()
    env = _settings(world, _EMPTY, _EMPTY.events)
    empty = seconds_to_first_flag(world, env, world.new_folder("service"), 0)
    env, folder = _settings(world, _WITH_PAST, SESSIONS), world.new_folder("service")
    with lane(env, folder) as service:
        service.until(lambda: service.ended() >= SESSIONS, every=0.1)
        service.drain()
    events = read(made(_WITH_PAST, world.folder))
    world.produce(env["EVENTS_TOPIC"], (events[at] for at in range(SESSIONS, len(events))))
    with_past = seconds_to_first_flag(world, env, folder, SESSIONS)
    yield {
        "scenario": "start",
        "seconds_to_first_flag_empty": round(empty, 2),
        "sessions": SESSIONS,
        "seconds_to_first_flag_restored": round(with_past, 2),
    }


def _settings(world: World, work: Work, filled: int) -> dict[str, str]:
    """Return the settings of the service on new topics, with the first events of some work in them."""
    events = read(made(work, world.folder))
    topic = world.topic_of(events[at] for at in range(filled))
    return settings(world, topic, world.new_topic("flags"), world.new_topic("letters"), reference_model(world.folder))
