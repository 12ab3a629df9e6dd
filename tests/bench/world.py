"""What the scenarios need around them: a real Kafka, a Redis, topics, filled ones too, and the service as it is run."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import redis
from confluent_kafka import Producer

from infra.embedded import redis_server_program
from infra.real_kafka import RealKafka
from infra.server_process import ServerProcess, free_port
from infra.topics import Topic, create_missing
from tests.bench import accounting
from tests.bench.expected import Flag
from tests.bench.work import KEY
from tests.crash.flow_process import REPOSITORY, make_store
from tests.crash.plain_avro import read_ours
from tests.crash.reading import read_topic
from tests.service import RunningService, counts_in

PARTITIONS = 4
SNAPSHOT_SECONDS = 5
ONE_THREAD = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
_READY_SECONDS = 10.0
_WORK_SECONDS = 900.0
_QUIET_SECONDS = 1.3
"""Longer than the service's writer ever rests."""
_ENDS = ("scored", "dead", "late", "duplicate")


class BenchError(RuntimeError):
    """The benchmark cannot say anything; the text says why."""


class World:
    """The servers of a whole benchmark; `with World(folder) as world`.

    Args:
        folder: For all files; those of the servers and of the runs go with the end.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runs = folder / f"run-{os.getpid()}"
        self._numbers = itertools.count(1)
        self._stack = ExitStack()
        self.redis_program = shutil.which("redis-server") or redis_server_program()
        self._redis_port = free_port()
        self.redis = redis.Redis(port=self._redis_port, decode_responses=True)

    def __enter__(self) -> Self:
        self._runs.mkdir(parents=True)
        self._stack.callback(shutil.rmtree, self._runs)
        try:
            self.kafka = self._stack.enter_context(RealKafka(self._runs / "kafka", heap="512m", for_load=True))
            self._start_redis()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start_redis(self) -> None:
        server = ServerProcess("Redis", self._runs / "redis.log")
        self._stack.callback(server.stop)
        place = ["--bind", "127.0.0.1", "--port", str(self._redis_port), "--dir", str(self._runs)]
        memory_only = ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"]
        server.start([self.redis_program, *place, *memory_only])
        server.wait_ready(self._answers, _READY_SECONDS)

    def _answers(self) -> bool:
        try:
            return bool(self.redis.ping())
        except redis.ConnectionError:
            return False

    @property
    def bootstrap(self) -> str:
        """Where Kafka is."""
        return self.kafka.bootstrap_servers

    @property
    def redis_url(self) -> str:
        """Where Redis is."""
        return f"redis://127.0.0.1:{self._redis_port}/0"

    def new_folder(self, name: str) -> Path:
        """Return a new folder for the files of a run."""
        folder = self._runs / f"{next(self._numbers)}-{name}"
        folder.mkdir()
        return folder

    def new_topic(self, name: str) -> str:
        """Create a topic whose records bear the time at which the broker appended them."""
        topic = f"{name}-{next(self._numbers)}"
        config = {"message.timestamp.type": "LogAppendTime"} if name == "flags" else {}
        create_missing({"bootstrap.servers": self.bootstrap}, [Topic(topic, PARTITIONS, config=config)])
        return topic

    def topic_of(self, values: Iterable[bytes]) -> str:
        """Create a topic and fill it."""
        topic = self.new_topic("events")
        self.produce(topic, values)
        return topic

    def produce(self, topic: str, values: Iterable[bytes]) -> None:
        """Write values as fast as they go."""
        in_order = {"enable.idempotence": True, "partitioner": "murmur2_random"}
        room = {"linger.ms": 20, "queue.buffering.max.messages": 500_000, "compression.type": "lz4"}
        producer = Producer({"bootstrap.servers": self.bootstrap, **in_order, **room})
        for at, value in enumerate(values):
            producer.produce(topic, value, value[KEY])
            if not at % 20_000:
                producer.poll(0)
                while len(producer) > 400_000:
                    producer.poll(0.05)
        if producer.flush(60):
            msg = f"{topic}: not all of the work was written"
            raise BenchError(msg)

    def wait_written(self) -> None:
        """Wait until nobody writes hashes to Redis any more: a service that is to end does not wait long for it."""
        before, now = -1, self._hashes_written()
        while now != before:
            time.sleep(_QUIET_SECONDS)
            before, now = now, self._hashes_written()

    def _hashes_written(self) -> int:
        stats: Any = self.redis.info("commandstats")
        return int(stats.get("cmdstat_hset", {}).get("calls", 0))

    def flags_in(self, topic: str) -> Iterator[Flag]:
        """Read the flags of the service."""
        for message in read_topic(self.bootstrap, topic):
            flag = read_ours("fraud_flag", message.value())
            yield flag["session_id"], flag["event_id"], flag["level"]

    def counts(self) -> dict[tuple[str, str], int]:
        """Read the page counts."""
        return counts_in(self.redis)


class Lane(RunningService):
    """One process of the service, timed from its start.

    Args:
        env: Its settings.
        folder: For its recovery store and its log; a store that is there is gone on with.
        workers: Threads of the engine that share the partitions, as its own cluster has them.
    """

    def __init__(self, env: Mapping[str, str], folder: Path, workers: int = 1) -> None:
        self.port = free_port()
        self.log = folder / "log"
        store = folder / "store"
        if not store.exists():
            make_store(store)
        command = [sys.executable, "-m", "bytewax.run", "dataflows.fraud", "-r", str(store)]
        command += ["-s", str(SNAPSHOT_SECONDS), "-b", "0", *(["-w", str(workers)] if workers > 1 else [])]
        self.started = time.monotonic()
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603 - our own
                command,
                env={**env, "METRICS_PORT": str(self.port), "WHOLE_SNAPSHOTS": "1" if workers > 1 else "0"},
                cwd=REPOSITORY,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def cpu(self) -> float:
        """CPU seconds so far, of the whole process tree."""
        return accounting.cpu_seconds(self.process.pid)

    @property
    def memory(self) -> int:
        """Bytes of the whole process tree."""
        return accounting.memory_bytes(self.process.pid)

    def until(self, what: Callable[[], object], seconds: float = _WORK_SECONDS, every: float = 0.02) -> None:
        """Wait until something is so.

        Raises:
            BenchError: If the service ends meanwhile, or it takes too long.
        """
        limit = time.monotonic() + seconds
        while not what():
            if self.process.poll() is not None or time.monotonic() > limit:
                msg = f"the service has ended or takes longer than {seconds:g} s:\n{self.log.read_text()[-2000:]}"
                raise BenchError(msg)
            time.sleep(every)

    def is_ready(self) -> bool:
        """Ask whether it works."""
        try:
            return bool(self.ready().get("ready"))
        except OSError:
            return False

    def ended(self) -> float:
        """Return how many records have come to their end."""
        samples = self.samples("fraud_partition_records")
        return sum(value for labels, value in samples.items() if any(f'outcome="{end}"' in labels for end in _ENDS))

    def buckets(self, name: str) -> dict[float, float]:
        """Return how many values of a histogram do not exceed each upper bound; errors as for `until`."""
        samples: dict[str, float] = {}

        def answers() -> bool:
            samples.update(self.samples(f"{name}_bucket"))
            return bool(samples)

        self.until(answers, _READY_SECONDS)
        return {float(labels.split('"')[1]): count for labels, count in samples.items()}

    def drain(self) -> None:
        """Let it write everything and end; errors as for `until`."""
        if (status := self.stop(signal.SIGTERM)) != 0:
            msg = f"expected a drain with status 0, got {status}:\n{self.log.read_text()[-2000:]}"
            raise BenchError(msg)


def settings(world: World, events: str, flags: str, letters: str, model_dir: Path, **more: str) -> dict[str, str]:
    """Return the environment of the service."""
    return {
        **{name: value for name, value in os.environ.items() if name != "RUST_BACKTRACE"},
        **ONE_THREAD,
        "EVENTS_TOPIC": events,
        "FLAGS_TOPIC": flags,
        "DEAD_LETTERS_TOPIC": letters,
        "KAFKA_BOOTSTRAP_SERVERS": world.bootstrap,
        "KAFKA_GROUP": f"bench-{flags}",
        "REDIS_URL": world.redis_url,
        "MODEL_DIR": str(model_dir.resolve()),
        "ENRICHMENT": "none",
        **more,
    }


@contextmanager
def lane(env: Mapping[str, str], folder: Path, workers: int = 1) -> Iterator[Lane]:
    """Run the service, and see that it is gone afterwards."""
    running = Lane(env, folder, workers)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()


Figures = dict[str, Any]
"""What a scenario prints."""
