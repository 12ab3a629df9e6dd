"""A real Apache Kafka broker without Docker: `python -m infra.real_kafka --port 9092 --dir var/kafka`.

One process that is broker and controller (KRaft), on loopback only, small enough for tests (128 MiB of heap), with its
data in a folder: it can be stopped or killed and started again. Not a production configuration.
"""

import argparse
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.kafka_broker import KafkaBroker, format_folders
from infra.kafka_distribution import KafkaDistributionError, missing_tool
from infra.server_process import LOOPBACK, ServerStartError, free_port
from infra.topics import Topic, create_missing


class RealKafka:
    """One broker; `with RealKafka(folder) as kafka: ...` starts it and stops it cleanly.

    Args:
        directory: Its data, settings and `kafka.log`; kept after the end.
        heap: Java heap, as in `-Xmx`.
        port: Where it listens on loopback; None is a random free port, the same for every start of this object.
        for_load: As for `KafkaBroker`.
    """

    def __init__(self, directory: Path, heap: str = "128m", port: int | None = None, *, for_load: bool = False) -> None:
        own, controller = free_port() if port is None else port, free_port()
        settings = {
            "listeners": f"PLAINTEXT://{LOOPBACK}:{own},CONTROLLER://{LOOPBACK}:{controller}",
            "controller.quorum.voters": f"1@{LOOPBACK}:{controller}",
        }
        self._broker = KafkaBroker(directory, own, settings, ["broker.properties"], heap, for_load=for_load)

    @staticmethod
    def available() -> str | None:
        """Say why a real Kafka cannot run here (no Java, no Maven); None when it can."""
        return missing_tool()

    @property
    def directory(self) -> Path:
        """Its folder."""
        return self._broker.directory

    @property
    def bootstrap_servers(self) -> str:
        """Its address, `127.0.0.1:PORT`."""
        return self._broker.address

    @property
    def pid(self) -> int:
        """Its process id; raises `ServerStoppedError` when it was never started."""
        return self._broker.process.pid

    def start(self) -> Self:
        """Start it on the data of its folder, and wait until it answers as Kafka.

        Raises:
            ServerStartError: If a tool is missing, its port is taken (it may run already), or it is not ready in time.
            KafkaDistributionError: If its jars cannot be fetched.
        """
        format_folders([self._broker])
        self._broker.launch()
        self._broker.wait_ready(self._answers)
        return self

    def _answers(self) -> bool:
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
        self._broker.stop()

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would; its data stays."""
        self._broker.kill()

    def pause(self) -> None:
        """Let it hang (SIGSTOP): connections stay open, nothing is answered."""
        self._broker.process.pause()

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._broker.process.resume()

    def wait(self) -> int:
        """Wait until it ends by itself and give its exit status."""
        return self._broker.process.wait()

    def log_tail(self) -> str:
        """Give the end of its log, for a message to a person."""
        return self._broker.process.log_tail()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


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
