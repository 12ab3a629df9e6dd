"""The risk flow as a process: killed again and again, it leaves in Redis what all events together give."""

import itertools
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import redis

from dataflows.risk import settings_from
from dataflows.risk_items import RefusedRecordError, StatusChanged
from dataflows.risk_records import flag_of, status_of
from infra.embedded import EmbeddedKafka, EmbeddedRedis
from model.profiles import profiles_after
from model.simulator import SimulatorConfig, history
from schemas import catalogue
from schemas.events import with_type_names
from tests.builders import an_event, framed
from tests.conftest import NewTopics
from tests.reference_entities import entity_values
from tests.service import PARTITIONS, RunningService, Setting

START_MS = 1_749_513_600_000
MINUTE_MS = 60_000
PATTERNS = ("account:*", "risk:*", "user:*", "input:*", "profile:*")


@pytest.fixture
def setting(
    embedded_kafka: EmbeddedKafka, empty_redis: EmbeddedRedis, new_topics: NewTopics, tmp_path: Path
) -> Iterator[Setting]:
    *topics, statuses = new_topics("events", "flags", "dead-letters", "statuses", partitions=PARTITIONS)
    env = {"STATUS_TOPIC": statuses}
    made = Setting(embedded_kafka, empty_redis.url, topics, tmp_path / "no-model", tmp_path, env=env)
    yield made
    made.redis.close()


class Weeks:
    """Some days of a bank, with sessions at their end that show all others to be over, and flags of some."""

    def __init__(self, seed: int) -> None:
        events = history(SimulatorConfig(customers=150), seed, 2, START_MS).events
        self.frame = events
        self.records: list[dict[str, Any]] = with_type_names(events.drop("row")).to_dicts()
        sessions = events["session_id"].unique().sort().to_list()
        self.flagged = random.Random(seed).sample(sessions, 20)
        self.after = [self._afterwards(step, number) for step in range(1, 6) for number in range(40)]
        self.after.append({**self._afterwards(5, 40), "timestamp": self.after[-1]["timestamp"] + 2 * MINUTE_MS})

    def _afterwards(self, step: int, number: int) -> dict[str, Any]:
        """Give an event so much later that sessions are over, and not so much that nobody believes it."""
        at = self.frame["timestamp"].max() + step * 50 * MINUTE_MS
        return an_event(session_id=f"later-{number}", event_id=f"{step}-{number}", user_id="later", timestamp=at)

    def produced(self) -> list[tuple[str, bytes]]:
        return [(record["session_id"], framed(record)) for record in [*self.records, *self.after]]

    def flags(self) -> list[dict[str, Any]]:
        first = {record["session_id"]: record for record in reversed(self.records)}
        return [a_flag(first[session_id]) for session_id in self.flagged]

    def statuses(self) -> list[tuple[str, bytes]]:
        """Give accounts that are locked, and half of them opened again; of these every other one is blocked then."""
        told = [(user, "locked") for user in range(60)]
        told += [(user, "active") for user in range(0, 60, 2)] + [(user, "blocked") for user in range(0, 60, 4)]
        return [(f"u-{user}", a_status(user_id=f"u-{user}", status=status)) for user, status in told]

    def expected(self) -> dict[str, bytes]:
        """Give what Redis should hold."""
        fraud = pl.DataFrame({"session_id": self.flagged, "known_at": [0] * len(self.flagged)})
        users, profiles = profiles_after(self.frame, fraud)
        values = {key: text.encode() for key, text in entity_values([*self.records, *self.after]).items()}
        values |= {f"account:u-{number}:status": b"blocked" for number in range(0, 60, 4)}
        values |= {f"account:u-{number}:status": b"locked" for number in range(1, 60, 2)}
        return values | {f"profile:{user}": one.tobytes() for user, one in zip(users, profiles, strict=True)}


def a_status(**fields: Any) -> bytes:
    record = {"user_id": "u-1", "status": "locked", "changed_at": START_MS} | fields
    return catalogue.frame(catalogue.ACCOUNT_STATUS.id, catalogue.ACCOUNT_STATUS, record)


def a_flag(event: dict[str, Any]) -> dict[str, Any]:
    """Give a flag of an event's session; what the risk flow does not read is empty."""
    empty = {"string": "", "double": 0.0, "int": 0, "long": 0, "bytes": b""}
    flag = {
        field["name"]: empty[field["type"]] if isinstance(field["type"], str) else _empty(field["type"])
        for field in catalogue.FLAG.definition["fields"]
    }
    ids = {"session_id": event["session_id"], "user_id": event["user_id"]}
    return flag | ids | {"event_timestamp": event["timestamp"]}


def _empty(kind: Any) -> Any:
    return [] if kind["type"] == "array" else 0


@contextmanager
def running(env: dict[str, str], store: Path, log: Path, workers: int) -> Iterator[RunningService]:
    """Run the risk flow; what is still running at the end is killed."""
    service = RunningService(env, store, log, "risk", workers)
    try:
        yield service
    finally:
        service.process.kill()
        service.process.wait()


def wait_for_records(service: RunningService, at_least: int) -> None:
    service.wait_for(lambda: service.records("consumed") >= at_least)


def held(client: redis.Redis) -> dict[str, bytes]:
    keys = [key for pattern in PATTERNS for key in client.scan_iter(pattern, count=5_000)]
    return dict(zip([key.decode() for key in keys], client.mget(keys), strict=True)) if keys else {}


def wait_until_equal(client: redis.Redis, expected: dict[str, bytes], service: RunningService) -> None:
    until = time.monotonic() + 40
    while (now := held(client)) != expected and time.monotonic() < until:
        assert service.process.poll() is None, service.log.read_text()[-3_000:]
        time.sleep(0.2)
    differing = {
        key: (now.get(key), expected.get(key)) for key in now.keys() | expected if now.get(key) != expected.get(key)
    }
    assert not differing, (len(differing), list(differing.items())[:5], service.log.read_text()[-1_000:])


@pytest.mark.parametrize(("seed", "workers", "kills"), [(1, 1, 4), (2, 2, 2)])
def test_killed_again_and_again_it_leaves_in_redis_what_all_events_give(
    seed: int, workers: int, kills: int, setting: Setting, empty_redis: EmbeddedRedis, tmp_path: Path
) -> None:
    weeks, dice = Weeks(seed), random.Random(seed)
    flags = [(flag["session_id"], catalogue.frame(catalogue.FLAG.id, catalogue.FLAG, flag)) for flag in weeks.flags()]
    setting.produce_to(setting.flags, [*flags, ("nobody", b"no flag")])
    setting.produce_to(setting.env["STATUS_TOPIC"], [*weeks.statuses(), ("u-1", b"no status")])
    records = weeks.produced()
    cuts = [0, *sorted(dice.sample(range(len(records)), kills)), len(records)]
    client = redis.Redis.from_url(empty_redis.url)

    for turn, (start, end) in enumerate(itertools.pairwise(cuts)):
        setting.produce(records[start:end])
        with running(setting.env, setting.store, tmp_path / f"log-{turn}", workers) as service:
            wait_for_records(service, end if end == len(records) else 1)
            if end == len(records):
                wait_until_equal(client, weeks.expected(), service)
                assert service.stop(signal.SIGTERM) == 0
            else:
                time.sleep(dice.random() * 2.5)
    client.close()


def test_while_redis_is_away_values_and_sessions_wait(setting: Setting, tmp_path: Path) -> None:
    weeks, server = Weeks(3), EmbeddedRedis(tmp_path)
    flags = [(flag["session_id"], catalogue.frame(catalogue.FLAG.id, catalogue.FLAG, flag)) for flag in weeks.flags()]
    setting.produce_to(setting.flags, flags)
    setting.produce_to(setting.env["STATUS_TOPIC"], weeks.statuses())
    *most, last = weeks.produced()
    setting.produce(most)
    with running({**setting.env, "REDIS_URL": server.url}, setting.store, tmp_path / "log", 1) as service:
        wait_for_records(service, len(most))
        service.wait_for(lambda: "nothing is learned" in service.ready()["dependencies"].get("redis profiles", ""))
        with server, redis.Redis.from_url(server.url) as client:
            time.sleep(1.1)  # the store rests for a second after each failure
            setting.produce([last])
            wait_until_equal(client, weeks.expected(), service)
            assert service.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"status": "frozen"}, "unknown_status"),
        ({"status": ""}, "unknown_status"),
        ({"changed_at": START_MS + 6 * MINUTE_MS}, "future"),
        ({"user_id": ""}, "missing_id"),
    ],
)
def test_a_status_that_is_none_is_refused_with_a_reason(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(RefusedRecordError) as refused:
        status_of(a_status(**fields), START_MS)

    assert refused.value.reason == reason


def test_records_that_say_nothing_are_refused_and_a_good_status_is_read() -> None:
    for read in (status_of, flag_of):
        with pytest.raises(RefusedRecordError, match="expected a record of") as refused:
            read(b"\x00\x00\x00\x00\x04\xff", START_MS)
        assert refused.value.reason == "undecodable"

    assert status_of(a_status(changed_at=START_MS + 4 * MINUTE_MS), START_MS) == StatusChanged("u-1", "locked")


def test_it_reads_all_partitions_under_a_group_and_a_port_of_its_own() -> None:
    settings = settings_from({"LANE": "1", "LANES": "2", "KAFKA_GROUP": "bank"})
    given = settings_from({"METRICS_PORT": "9999"})

    assert (settings.lane, settings.lanes, settings.kafka_group, settings.metrics_port) == (0, 1, "bank-risk", 9401)
    assert settings.whole_snapshots
    assert given.metrics_port == 9999
