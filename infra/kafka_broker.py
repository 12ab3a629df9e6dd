"""One Kafka process and its folder: settings, data and log in it; formatted, started, paused, ended by process id.

What all real Kafkas here have in common, one broker or three, open or secured. Loopback only, never for production.
"""

import base64
import os
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from infra.kafka_distribution import fetch_jars, missing_tool
from infra.server_process import LOOPBACK, ServerProcess, ServerStartError, is_listening

READY_SECONDS = 60.0
"""How long a start may take; 4 s are usual, a busy machine needs more."""

SETTINGS = Path(__file__).with_name("kafka")
"""The folder of the settings files."""

_FORMAT_SECONDS = 60.0
_STOP_SECONDS = 20.0
_SMALL_JVM = ("-XX:+UseSerialGC", "-XX:-UsePerfData")
_QUICK_JVM = "-XX:TieredStopAtLevel=1"
"""Half the start's CPU time, and code that takes twice as long for each request."""


class KafkaBroker:
    """A broker that is its own controller, or one of several.

    Args:
        directory: Its data, settings and `kafka.log`; kept after the end.
        port: Where clients find it on loopback.
        settings: Added to those of the files, and stronger.
        files: Names of settings files in `infra/kafka`, a later one is stronger.
        heap: Java heap, as in `-Xmx`.
        for_load: Whether its code is compiled as in production, which pays after a minute under load.
    """

    def __init__(
        self,
        directory: Path,
        port: int,
        settings: Mapping[str, str],
        files: Sequence[str],
        heap: str = "128m",
        *,
        for_load: bool = False,
    ) -> None:
        self.directory = directory.resolve()
        self.port = port
        self.process = ServerProcess("Kafka", self.directory / "kafka.log")
        self._settings = {**settings, "log.dirs": str(self.directory / "data")}
        self._files = files
        self._jvm = [f"-Xmx{heap}", *_SMALL_JVM, *([] if for_load else [_QUICK_JVM])]

    @property
    def address(self) -> str:
        """Where clients find it, `127.0.0.1:PORT`."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def is_formatted(self) -> bool:
        """Whether its data folder belongs to a cluster already."""
        return (self.directory / "data" / "meta.properties").exists()

    def write_settings(self) -> Path:
        """Write its settings file, readable by its owner only: it may hold a password.

        Raises:
            ServerStartError: If a tool is missing, or its port is taken (it may run already).
        """
        if (reason := missing_tool()) is not None:
            raise ServerStartError(reason)
        if is_listening(self.port):
            msg = f"Kafka cannot start: something listens on {self.address} already"
            raise ServerStartError(msg)
        self.directory.mkdir(parents=True, exist_ok=True)
        parts = [(SETTINGS / name).read_text() for name in self._files]
        parts += [f"{name}={value}" for name, value in self._settings.items()]
        file = self._settings_file
        file.unlink(missing_ok=True)
        with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as output:
            output.write("\n".join(parts) + "\n")
        return file

    @property
    def _settings_file(self) -> Path:
        return self.directory / "server.properties"

    def begin_format(self, cluster_id: str, options: Sequence[str]) -> ServerProcess:
        """Start Kafka's storage tool on its empty data folder."""
        storage = ServerProcess("Kafka's storage tool", self.directory / "kafka.log")
        settings = str(self.write_settings())
        storage.start(self._java("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", settings, *options))
        return storage

    def launch(self) -> None:
        """Start it on the data of its folder; `wait_ready` is next.

        Raises:
            ServerStartError: If a tool is missing, or its port is taken (it may run already).
            KafkaDistributionError: If its jars cannot be fetched.
        """
        self.process.start(self._java("kafka.Kafka", str(self.write_settings())))

    def wait_ready(self, is_ready: Callable[[], bool]) -> None:
        """Wait until it listens and `is_ready` says so; it is not left running when that fails.

        Raises:
            ServerStartError: If it ended, or was not ready in time.
        """
        self.process.wait_ready(lambda: is_listening(self.port) and is_ready(), READY_SECONDS)

    def _java(self, *main: str) -> list[str]:
        java = shutil.which("java") or "java"
        logging = f"-Dlog4j2.configurationFile={SETTINGS / 'log4j2.properties'}"
        return [java, *self._jvm, logging, "-cp", f"{fetch_jars()}/*", *main]

    def stop(self) -> None:
        """Stop it cleanly; its data stays. Harmless when it is not running."""
        self.process.stop(_STOP_SECONDS)

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would; its data stays."""
        self.process.kill()


def format_folders(brokers: Sequence[KafkaBroker], options: Sequence[str] = ()) -> None:
    """Prepare the empty data folders of a cluster, side by side; does nothing when they have data.

    Args:
        brokers: All of the cluster.
        options: More options of Kafka's storage tool, as for the first user.

    Raises:
        ServerStartError: If a folder could not be formatted.
    """
    cluster_id = _cluster_id()
    tools: list[ServerProcess] = []
    try:
        tools.extend(broker.begin_format(cluster_id, options) for broker in brokers if not broker.is_formatted)
        for tool in tools:
            if tool.wait(_FORMAT_SECONDS) != 0:
                msg = f"Kafka's data folder could not be formatted; the end of its log:\n{tool.log_tail()}"
                raise ServerStartError(msg)
    finally:
        for tool in tools:
            tool.kill()


def _cluster_id() -> str:
    """Give a random cluster id in Kafka's form, never one that looks like an option."""
    while True:
        identifier = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not identifier.startswith("-"):
            return identifier
