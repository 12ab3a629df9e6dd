"""Three real Kafka brokers without Docker, so that a test may kill, hang and bring back some of them.

Each is broker and controller (KRaft), on loopback only, with its data in a folder of its own; every partition is on
all three, and a write is acknowledged when two have it. Not a production configuration.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.kafka_broker import READY_SECONDS, KafkaBroker, format_folders
from infra.kafka_distribution import missing_tool
from infra.server_process import LOOPBACK, ServerStartError, free_port
from infra.topics import Topic, create_missing

BROKERS = (1, 2, 3)
"""The numbers of the brokers, as Kafka says them too."""

_ASK_SECONDS = 2.0
_POLL_SECONDS = 0.05


class RealKafkaCluster:
    """Three brokers; `with RealKafkaCluster(folder) as cluster: ...` starts them and stops them.

    Args:
        directory: A folder for each broker is in it; kept after the end.
        heap: Java heap of each, as in `-Xmx`.
    """

    def __init__(self, directory: Path, heap: str = "128m") -> None:
        controllers = {number: free_port() for number in BROKERS}
        voters = ",".join(f"{number}@{LOOPBACK}:{port}" for number, port in controllers.items())
        self._brokers = {
            number: _broker(directory / str(number), number, controllers[number], voters, heap) for number in BROKERS
        }

    @staticmethod
    def available() -> str | None:
        """Say why real brokers cannot run here (no Java, no Maven); None when they can."""
        return missing_tool()

    @property
    def bootstrap_servers(self) -> str:
        """The addresses of all three, with commas between."""
        return ",".join(broker.address for broker in self._brokers.values())

    def start(self, number: int | None = None) -> Self:
        """Start one broker again, or all of them, on their data, and wait until no partition lacks a copy.

        Raises:
            ServerStartError: If a tool is missing, a port is taken, or they are not ready in time.
            KafkaDistributionError: If the jars cannot be fetched.
        """
        starting = [self._brokers[number]] if number is not None else list(self._brokers.values())
        try:
            format_folders(starting)
            # From one thread: the kernel ties each to the thread that starts it.
            for broker in starting:
                broker.launch()
            for broker in starting:
                broker.wait_ready(lambda: True)
            self.wait_for_full_isr()
        except BaseException:
            for broker in starting:
                broker.kill()
            raise
        return self

    def wait_for_full_isr(self, seconds: float = READY_SECONDS) -> None:
        """Wait until all brokers are there and every partition has all its copies in sync.

        Raises:
            ServerStartError: If that takes longer.
        """
        until = time.monotonic() + seconds
        while (lacking := self._lacking()) is not None:
            if time.monotonic() > until:
                msg = f"the Kafka cluster is not complete within {seconds:g} s: {lacking}"
                raise ServerStartError(msg)
            time.sleep(_POLL_SECONDS)

    def _lacking(self) -> str | None:
        """Say what is not in order yet; None when nothing is."""
        try:
            found = self._metadata()
        except KafkaException as error:
            return str(error.args[0].str())
        if len(found.brokers) < len(BROKERS):
            return f"only brokers {sorted(found.brokers)}"
        lacking = [
            f"{name}/{partition.id}"
            for name, topic in found.topics.items()
            for partition in topic.partitions.values()
            if partition.leader < 0 or len(partition.isrs) < len(partition.replicas)
        ]
        return f"copies are missing of {', '.join(lacking)}" if lacking else None

    def _metadata(self) -> Any:
        # A new client each time: an old one may know a broker that hangs, and wait for it.
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        return admin.list_topics(timeout=_ASK_SECONDS)

    def leader(self, topic: str, partition: int) -> int:
        """Give the number of the broker that leads a partition; negative while none does, or no broker says so."""
        try:
            return int(self._metadata().topics[topic].partitions[partition].leader)
        except KafkaException:
            return -1

    def create_topics(self, topics: Mapping[str, int]) -> None:
        """Create those topics that do not exist, on all brokers; the values are partition counts."""
        wanted = [Topic(name, partitions, len(BROKERS)) for name, partitions in topics.items()]
        create_missing({"bootstrap.servers": self.bootstrap_servers}, wanted)
        self.wait_for_full_isr()

    def pid(self, number: int) -> int:
        """Give a broker's process id."""
        return self._brokers[number].process.pid

    def is_running(self, number: int) -> bool:
        """Tell whether a broker's process is there; a paused one is."""
        return self._brokers[number].process.is_running

    def kill(self, number: int) -> None:
        """End a broker at once (SIGKILL), as a crash would; its data stays."""
        self._brokers[number].kill()

    def pause(self, number: int) -> None:
        """Let a broker hang (SIGSTOP): connections stay open, nothing is answered."""
        self._brokers[number].process.pause()

    def resume(self, number: int) -> None:
        """Let a broker go on after `pause`; it needs a moment to be in sync again."""
        self._brokers[number].process.resume()

    def stop(self) -> None:
        """End all brokers; their data stays. Harmless when they are not running."""
        # The last two cannot hand over what they lead, and would wait for it: so this is no clean stop.
        for broker in self._brokers.values():
            broker.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _broker(directory: Path, number: int, controller: int, voters: str, heap: str) -> KafkaBroker:
    port = free_port()
    settings = {
        "node.id": str(number),
        "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller}",
        "controller.quorum.voters": voters,
    }
    return KafkaBroker(directory, port, settings, ["broker.properties", "cluster.properties"], heap)
