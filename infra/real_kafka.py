"""A real Apache Kafka broker without Docker: `python -m infra.real_kafka --port 9092 --dir var/kafka`.

One process that is broker and controller (KRaft), on loopback only, small enough for tests (128 MiB of heap), with its
data in a folder: it can be stopped or killed and started again. Not a production configuration.
"""

import argparse
import base64
import shutil
import signal
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.kafka_distribution import KafkaDistributionError, fetch_jars, missing_tool
from infra.server_process import LOOPBACK, ServerProcess, ServerStartError, free_port, is_listening
from infra.topics import Topic, create_missing

READY_SECONDS = 60.0
"""How long a start may take; 4 s are usual, a busy machine needs more."""

_SETTINGS = Path(__file__).with_name("kafka")
_FORMAT_SECONDS = 60.0
_STOP_SECONDS = 20.0
_SMALL_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")


class RealKafka:
    """One broker; `with RealKafka(folder) as kafka: ...` starts it and stops it cleanly.

    Args:
        directory: Its data, settings and `kafka.log`; kept after the end.
        heap: Java heap, as in `-Xmx`.
        port: Where it listens on loopback; None is a random free port, the same for every start of this object.
    """

    def __init__(self, directory: Path, heap: str = "128m", port: int | None = None) -> None:
        self.directory = directory.resolve()
        self._heap = heap
        self._port = free_port() if port is None else port
        self._process = ServerProcess("Kafka", self.directory / "kafka.log")

    @staticmethod
    def available() -> str | None:
        """Say why a real Kafka cannot run here (no Java, no Maven); None when it can."""
        return missing_tool()

    @property
    def bootstrap_servers(self) -> str:
        """Its address, `127.0.0.1:PORT`."""
        return f"{LOOPBACK}:{self._port}"

    @property
    def pid(self) -> int:
        """Its process id; raises `ServerStoppedError` when it was never started."""
        return self._process.pid

    def start(self) -> Self:
        """Start it on the data of its folder, and wait until it answers as Kafka.

        Raises:
            ServerStartError: If a tool is missing, its port is taken (it may run already), or it is not ready in time.
            KafkaDistributionError: If its jars cannot be fetched.
        """
        if (reason := self.available()) is not None:
            raise ServerStartError(reason)
        if is_listening(self._port):
            msg = f"Kafka cannot start: something listens on {self.bootstrap_servers} already"
            raise ServerStartError(msg)
        self.directory.mkdir(parents=True, exist_ok=True)
        settings = self._write_settings()
        if not (self.directory / "data" / "meta.properties").exists():
            self._format(settings)
        self._process.start(self._java("kafka.Kafka", str(settings)))
        self._process.wait_ready(self._answers, READY_SECONDS)
        return self

    def _write_settings(self) -> Path:
        controller = free_port()
        own = {
            "listeners": f"PLAINTEXT://{self.bootstrap_servers},CONTROLLER://{LOOPBACK}:{controller}",
            "controller.quorum.voters": f"1@{LOOPBACK}:{controller}",
            "log.dirs": str(self.directory / "data"),
        }
        text = (_SETTINGS / "broker.properties").read_text()
        file = self.directory / "server.properties"
        file.write_text(text + "\n" + "".join(f"{name}={value}\n" for name, value in own.items()))
        return file

    def _format(self, settings: Path) -> None:
        """Prepare an empty data folder, with a cluster id of its own."""
        storage = ServerProcess("Kafka's storage tool", self.directory / "kafka.log")
        storage.start(self._java("kafka.tools.StorageTool", "format", "-t", _cluster_id(), "-c", str(settings)))
        try:
            status = storage.wait(_FORMAT_SECONDS)
        finally:
            storage.kill()
        if status != 0:
            msg = f"Kafka's data folder could not be formatted; the end of its log:\n{storage.log_tail()}"
            raise ServerStartError(msg)

    def _java(self, *main: str) -> list[str]:
        java = shutil.which("java") or "java"
        logging = f"-Dlog4j2.configurationFile={_SETTINGS / 'log4j2.properties'}"
        return [java, f"-Xmx{self._heap}", *_SMALL_JVM, logging, "-cp", f"{fetch_jars()}/*", *main]

    def _answers(self) -> bool:
        if not is_listening(self._port):
            return False
        try:
            admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
            return bool(admin.list_topics(timeout=2).brokers)
        except KafkaException:
            return False

    def create_topics(self, topics: Mapping[str, int]) -> None:
        """Create those topics that do not exist; the values are partition counts."""
        create_missing({"bootstrap.servers": self.bootstrap_servers}, [Topic(*topic) for topic in topics.items()])

    def stop(self) -> None:
        """Stop it cleanly; its data stays. Harmless when it is not running."""
        self._process.stop(_STOP_SECONDS)

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would; its data stays."""
        self._process.kill()

    def wait(self) -> int:
        """Wait until it ends by itself and give its exit status."""
        return self._process.wait()

    def log_tail(self) -> str:
        """Give the end of its log, for a message to a person."""
        return self._process.log_tail()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _cluster_id() -> str:
    """Give a random cluster id in Kafka's form, never one that looks like an option."""
    while True:
        identifier = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not identifier.startswith("-"):
            return identifier


def _end(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run one broker in the foreground until Ctrl-C or SIGTERM; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m infra.real_kafka", description="A real Kafka broker on loopback.")
    parser.add_argument("--port", type=int, default=9092, help="default: %(default)s")
    parser.add_argument("--dir", type=Path, default=Path("var/kafka"), help="data folder, default: %(default)s")
    parser.add_argument("--heap", default="128m", help="Java heap, default: %(default)s")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    try:
        with RealKafka(arguments.dir, arguments.heap, arguments.port) as kafka:
            sys.stdout.write(f"Kafka is ready at {kafka.bootstrap_servers}; Ctrl-C ends it\n")
            sys.stdout.flush()
            status = kafka.wait()
            sys.stderr.write(f"Kafka ended by itself with status {status}; the end of its log:\n{kafka.log_tail()}\n")
    except (ServerStartError, KafkaDistributionError) as error:
        sys.stderr.write(f"{error}\n")
    except KeyboardInterrupt:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
