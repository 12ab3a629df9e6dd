"""One crash test's world: Kafka, Redis, topics, a model, the load, and the service that is killed and started again.

It only sets up, measures and judges; what goes wrong is in `tests.crash.faults`. Everything it starts ends with it.
"""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, Self, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from infra.embedded import EmbeddedKafka, EmbeddedRedis
from infra.kafka_cluster import RealKafkaCluster
from infra.real_kafka import RealKafka
from tests.crash.checker import Since, Verdict, check, collect
from tests.crash.fixed_keys import write_keys
from tests.crash.flagging_model import save_flagging_model
from tests.crash.flow_process import REPOSITORY, FlowError, FlowProcess, make_store
from tests.crash.load import Load
from tests.crash.oracle import Expected, minute_name
from tests.crash.reading import ranges
from tests.crash.redis_proxy import RedisProxy
from tests.crash.registry_stub import RegistryStub
from tests.crash.stream import start_before, stream

KINDS = ("embedded", "real", "cluster")
PARTITIONS = 4
EVENTS, FLAGS, LETTERS = "clickstream-events", "fraud-flags", "clickstream-dead-letters"
SNAPSHOT_SECONDS = 1
_REPEATED_MS = (SNAPSHOT_SECONDS + 1) * 1000
"""Flags appended so shortly before a kill may come again."""
_START_SECONDS = 60.0
NO_RETRY = Retry(NoBackoff(), 0)
"""For clients that are to see what Redis says at once."""

Part = TypeVar("Part")
_ORACLE_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Options:
    """What a test is made of.

    Attributes:
        kafka: `embedded`, `real`, or `cluster`: three real brokers, each partition on all, writes taken by two.
        events: Records of the load.
        kills: How often the fault strikes, where it can more than once.
        seed: Of everything random.
        rate: Records a second.
        long: Whether outages last longer.
    """

    kafka: str
    events: int
    kills: int
    seed: int
    rate: float
    long: bool = False


class InconclusiveError(AssertionError):
    """The run says nothing, for a reason that is neither the service's nor the test's; run it again."""


class Scene:
    """The world of one test; `with Scene(...) as scene`.

    Args:
        options: What it is made of.
        folder: For its files; made by it.
        needs: What it has beside the usual: a `proxy` between the service and Redis, a schema `registry`, `keys` of
            devices and users in Redis (no look-up may fail then).
    """

    flow: FlowProcess
    load: Load
    kafka: EmbeddedKafka | RealKafka | RealKafkaCluster

    def __init__(self, options: Options, folder: Path, needs: Collection[str] = ()) -> None:
        self.options = options
        self.folder = folder
        self.dice = Random(f"{options.seed}/fault")
        self.log_file = folder / "flow.log"
        self.store = folder / "store"
        self.redis = EmbeddedRedis()
        self.proxy = RedisProxy(self.redis.port) if "proxy" in needs else None
        self.registry = RegistryStub() if "registry" in needs else None
        self.kills_ms: list[tuple[int, int]] = []
        """Of each kill: since when what was appended may come again, and when it was."""
        self.no_epoch_ends_since_ms: int | None = None
        """Set while a broker is gone and the others have no new leaders: what waits for them holds the epoch open."""
        self.recoveries: list[float] = []
        self.since: Since | None = None
        self.p95_ms: float | None = None
        """Of the pipeline while the fault lasted, where one process saw it from begin to end."""
        self.notes: dict[str, Any] = {}
        self._with_keys = "keys" in needs
        self._degraded = 0.0
        self._is_new = False
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        try:
            self._set_up()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _set_up(self) -> None:
        topics = {EVENTS: PARTITIONS, FLAGS: PARTITIONS, LETTERS: PARTITIONS}
        if self.options.kafka == "embedded":
            self.kafka = self._stack.enter_context(EmbeddedKafka(topics))
        else:
            kind = RealKafka if self.options.kafka == "real" else RealKafkaCluster
            real = self._stack.enter_context(kind(self.folder / "kafka"))
            real.create_topics(topics)
            self.kafka = real
        self._stack.enter_context(self.redis)
        if self.proxy is not None:
            self._stack.enter_context(self.proxy)
        if self.registry is not None:
            self._stack.enter_context(self.registry)
        make_store(self.store)
        self._model_dir = save_flagging_model(self.folder / "models")
        now_ms = time.time_ns() // 1_000_000
        records = stream(self.options.seed, self.options.events, start_before(now_ms))
        if self._with_keys:
            records, twin = itertools.tee(records)
            with self.client() as client:
                self.notes["keys"] = write_keys(client, (value for _, value in twin), now_ms)
        self.load = Load(self.bootstrap, EVENTS, records, self.options.events, self.options.rate)
        self._stack.callback(self.load.abandon)
        self.start_flow()
        self._stack.callback(self._discard_flow)
        self.flow.wait_for(self.flow.is_ready, _START_SECONDS)
        self.load.start()

    def _discard_flow(self) -> None:
        """End whichever process runs by then."""
        self.flow.discard()

    @property
    def bootstrap(self) -> str:
        """Address of Kafka."""
        return self.kafka.bootstrap_servers

    @property
    def env(self) -> dict[str, str]:
        """The settings of the service."""
        port = self.redis.port if self.proxy is None else self.proxy.port
        return {
            **{name: value for name, value in os.environ.items() if name != "RUST_BACKTRACE"},
            "EVENTS_TOPIC": EVENTS,
            "FLAGS_TOPIC": FLAGS,
            "DEAD_LETTERS_TOPIC": LETTERS,
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "REDIS_URL": f"redis://127.0.0.1:{port}/0",
            "MODEL_DIR": str(self._model_dir),
            "SESSION_TTL": "86400",
            **({"SCHEMA_REGISTRY_URL": self.registry.url} if self.registry else {}),
        }

    def of(self, kind: type[Part]) -> Part:
        """Return the part of the scene of this kind."""
        for part in (self.kafka, self.proxy, self.registry):
            if isinstance(part, kind):
                return part
        msg = f"this test has no {kind.__name__}"
        raise FlowError(msg)

    def client(self) -> Any:
        """Return a client of Redis itself, not through the proxy, which does not try twice."""
        return redis.Redis(port=self.redis.port, socket_timeout=2, decode_responses=True, retry=NO_RETRY)

    def start_flow(self) -> None:
        """Start the service, once more."""
        self.flow = FlowProcess(self.env, self.store, self.log_file)
        self._is_new = True

    def kill_flow(self) -> None:
        """Kill the service, under load."""
        self.must(not self.load.is_over, "the load was over before the kill")
        self._note_degraded()
        self.note_kill(time.time_ns() // 1_000_000)
        self.flow.kill()
        self._is_new = False

    def note_kill(self, at_ms: int) -> None:
        """Note that what the open epoch holds by now may be repeated."""
        open_ms = at_ms if self.no_epoch_ends_since_ms is None else self.no_epoch_ends_since_ms
        self.kills_ms.append((open_ms - _REPEATED_MS, at_ms))

    def _note_degraded(self) -> None:
        if self._with_keys:
            samples = self.flow.samples()
            self._degraded += samples.get('fraud_degraded_events_total{dependency="redis"}', 0.0)

    def wait_working(self, seconds: float = _START_SECONDS) -> None:
        """Wait until the service has scored something; after a kill that is its recovery time."""
        self.flow.wait_for(self.flow.scored, seconds)
        if self.kills_ms and self._is_new:
            self.recoveries.append(time.monotonic() - self.flow.started)
        self._is_new = False

    def until(self, share: float) -> None:
        """Wait until this share of the load has been sent."""
        self.wait(lambda: self.load.sent >= share * self.load.count, 300)

    @staticmethod
    def wait(what: Callable[[], object], seconds: float = 30.0) -> None:
        """Wait until something is so that has nothing to do with the service."""
        until = time.monotonic() + seconds
        while not what():
            Scene.must(time.monotonic() < until, f"not within {seconds} s")
            time.sleep(0.01)

    @staticmethod
    def must(is_so: object, otherwise: str) -> None:
        """Fail unless something is so: a fault that did not happen proves nothing."""
        if not is_so:
            raise FlowError(otherwise)

    def judge(self) -> dict[str, Any]:
        """Let everything come to its end, drain, and compare; return the figures."""
        self.load.end()
        ends = {partition: high for partition, (_, high) in ranges(self.bootstrap, EVENTS).items()}
        records = self.flow.wait_for_end(ends)
        self._note_degraded()
        if self._degraded:
            msg = f"{self._degraded:g} events went without answers, the oracle's had them: nothing can be said"
            raise InconclusiveError(msg)
        self.flow.drain()
        lows = {
            (topic, partition): low
            for topic in (EVENTS, FLAGS, LETTERS)
            for partition, (low, _) in ranges(self.bootstrap, topic).items()
        }
        self.must(not any(lows.values()), f"Kafka has dropped records that the test needs: {lows}")
        expected = self._oracle()
        got = collect(self.bootstrap, FLAGS, LETTERS, self.redis.url, records)
        if self.since is not None:
            floor = minute_name(self.since.minute_ms)
            left = sum(minute >= floor for minutes in expected.counts.values() for minute in minutes)
            self.must(left > 100, f"only {left} counts had to be there again")
        verdict = check(expected, got, self.since)
        allowed = sum(from_ms < at <= kill_ms for from_ms, kill_ms in self.kills_ms for at in got.flagged_ms)
        return self._figures(verdict, allowed, sum(ends.values()), len(expected.flags))

    def _oracle(self) -> Expected:
        """Run the oracle, as the program that it is."""
        out = self.folder / "expected.json"
        program = [sys.executable, "-m", "tests.crash.oracle", "--bootstrap", self.bootstrap, "--topic", EVENTS]
        program += ["--model-dir", str(self._model_dir), "--out", str(out)]
        if self._with_keys:
            program.append("--with-keys")
        if self.registry is not None:
            writers = self.folder / "writers.json"
            self.registry.write_definitions(writers)
            program += ["--writers", str(writers)]
        subprocess.run(program, check=True, cwd=REPOSITORY, timeout=_ORACLE_SECONDS)  # noqa: S603 - our own
        return Expected.load(out)

    def _figures(self, verdict: Verdict, allowed: int, events: int, flags: int) -> dict[str, Any]:
        found = asdict(verdict)
        shown = found.pop("shown")
        self.must(flags, "the oracle expects no flag: the test proves little")
        return {
            "kills": len(self.kills_ms),
            "events": events,
            **found,
            "raw_repeats_allowed": allowed,
            "recovery_seconds_max": round(max(self.recoveries, default=0.0), 2),
            "flags": flags,
            "p95_ms": self.p95_ms,
            "ok": verdict.mistakes == 0 and verdict.raw_repeats <= allowed,
            "shown": shown,
            **self.notes,
        }
