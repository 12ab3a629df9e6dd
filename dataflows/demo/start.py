"""What the demo needs before the stream runs: Kafka, Redis, a model, a recovery store, the flow and the simulator.

What the environment names is used and never emptied; what it does not name is started here, empty, and goes with the
demo.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from dataflows.demo.processes import Children, DemoError, Stop, death_of
from dataflows.settings import Settings
from infra.embedded import EmbeddedKafka, EmbeddedRedis
from infra.server_process import ServerProcess, free_port
from infra.topics import create_missing, load_topics
from model.artifacts import ArtifactError, ArtifactShelf

VAR = Path("var")
"""What runs leave behind, seen from the root of the project."""

BANK = ("--customers", "1000", "--attack-share", "0.1")
"""The simulated bank of the demo: small and much attacked, so that there is something to see within seconds."""

TOPICS_SECONDS = 30.0
FLOW_STOP_SECONDS = 10.0
SIMULATOR_STOP_SECONDS = 5.0

_KAFKA = "KAFKA_BOOTSTRAP_SERVERS"
_REDIS = ("REDIS_URL", "REDIS_URL_FILE")
_NOT_STARTED = "embedded"


def environment_of(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the children: an empty address is none, and each library gets one thread."""
    not_given = {name for name in (_KAFKA, *_REDIS, "METRICS_PORT") if not env.get(name)}
    kept = {name: value for name, value in env.items() if name not in {*not_given, "RUST_BACKTRACE"}}
    return kept | {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}


def settings_of(env: Mapping[str, str]) -> Settings:
    """Read the settings, also before there is a Kafka; raises `SettingsError`."""
    return Settings.from_env({_KAFKA: _NOT_STARTED, **env})


@dataclass(frozen=True, slots=True)
class Start:
    """Starts one thing after the other.

    Attributes:
        stack: Ends what was started, in reverse order.
        children: The processes among it.
        env: Environment of the children; it names the servers once they run.
        folder: For logs.
        stop: Whether somebody wants to end already.
        say: Tells a person what is going on.
    """

    stack: ExitStack
    children: Children
    env: dict[str, str]
    folder: Path
    stop: Stop
    say: Callable[[str], None]

    @property
    def settings(self) -> Settings:
        """The settings as they are now."""
        return settings_of(self.env)

    def kafka(self) -> bool:
        """Make sure of a Kafka with our topics; say whether it is an embedded one.

        Raises:
            ServerStartError: If the embedded one does not start.
            TopicsError: If the given one does not answer or refuses a topic.
        """
        settings = self.settings
        names = {
            "clickstream-events": settings.events_topic,
            "fraud-flags": settings.flags_topic,
            "clickstream-dead-letters": settings.dead_letters_topic,
            "account-status": settings.status_topic,
        }
        topics = [replace(topic, name=names.get(topic.name, topic.name)) for topic in load_topics()]
        if _KAFKA in self.env:
            for line in create_missing(settings.kafka(), topics, TOPICS_SECONDS):
                self.say(f"topic {line}")
            return False
        kafka = self.stack.enter_context(EmbeddedKafka({topic.name: topic.partitions for topic in topics}, self.folder))
        self.children.watch_server("the embedded Kafka", kafka.pid)
        self.env[_KAFKA] = kafka.bootstrap_servers
        return True

    def redis(self) -> None:
        """Make sure of a Redis; raises `ServerStartError` if the embedded one does not start."""
        if not any(name in self.env for name in _REDIS):
            redis = self.stack.enter_context(EmbeddedRedis(self.folder))
            self.children.watch_server("the embedded Redis", redis.pid)
            self.env["REDIS_URL"] = redis.url

    def model(self) -> None:
        """Train a model if there is none.

        Raises:
            DemoError: If the training fails, or somebody does not want to wait for it.
        """
        directory = self.settings.model_dir
        if _has_model(directory):
            return
        self.say(f"no model in {directory} yet: training one on simulated sessions, in less than a minute ...")
        begun = time.monotonic()
        command = [sys.executable, "-m", "model.train", "--worlds", "1", "--max-iter", "100", "--out", str(directory)]
        log_file = self._wait_for("training", command)
        self.say(f"trained {_trained(log_file)} in {time.monotonic() - begun:.1f} s")

    def _wait_for(self, name: str, command: list[str]) -> Path:
        """Run a command to its end; return its log file."""
        child = self.children.start(name, command, self.env, grace_seconds=1)
        while child.is_running:
            self.stop.raise_if_asked()
            self.stop.wait(0.2)
        if child.wait():
            raise death_of(child)
        self.children.end(child, 0)
        return child.log_file

    def past(self, seed: int) -> None:
        """Tell Redis what is normal for the simulated customers, from some weeks before now.

        Raises:
            DemoError: If that fails, or somebody does not want to wait for it.
        """
        self.say("simulating the bank's last weeks: what is normal for its customers ...")
        self._wait_for("past", [sys.executable, "-m", "dataflows.demo.past", *BANK, "--seed", str(seed)])

    def recovery_store(self, name: str, *, is_kept: bool) -> Path:
        """Give a recovery store that is a flow's alone: one of this name, or a new one that goes with the demo.

        Raises:
            DemoError: If it cannot be made.
        """
        if is_kept:
            store = VAR / "recovery" / name
            store.mkdir(parents=True, exist_ok=True)
            store.chmod(0o700)
        else:
            store = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="clickstream-fraud-")))
        if any(store.glob("part-*.sqlite3")):
            self.say(f"going on from the recovery store {store}")
        else:
            _create_store(store)
        return store

    def flow(self, store: Path) -> ServerProcess:
        """Start the fraud flow on a recovery store; `settings.metrics_port` is its port afterwards."""
        self.env["METRICS_PORT"] = str(self._given_port() or free_port())
        return self._flow("flow", "fraud", store, self.env)

    def risk_flow(self, store: Path) -> ServerProcess:
        """Start the risk flow on a recovery store of its own."""
        return self._flow("risk", "risk", store, self.env | {"METRICS_PORT": str(free_port())})

    def _flow(self, name: str, module: str, store: Path, env: dict[str, str]) -> ServerProcess:
        command = [sys.executable, "-m", "bytewax.run", f"dataflows.{module}", "-r", str(store), "-s", "1", "-b", "0"]
        return self.children.start(name, command, env, FLOW_STOP_SECONDS)

    def _given_port(self) -> int:
        return self.settings.metrics_port if "METRICS_PORT" in self.env else 0

    def simulator(self, rate: float, seed: int) -> ServerProcess:
        """Start the simulator at a rate in events a second."""
        command = [sys.executable, "-m", "dataflows.simulate", "--rate", f"{rate:g}", "--seed", str(seed), *BANK]
        return self.children.start("simulator", command, self.env, SIMULATOR_STOP_SECONDS)


def _has_model(directory: Path) -> bool:
    try:
        ArtifactShelf(directory).current()
    except ArtifactError:
        return False
    return True


def _trained(log_file: Path) -> str:
    """Say what was trained: the last line of the training is a JSON object."""
    try:
        result = json.loads(log_file.read_text(encoding="utf-8").splitlines()[-1])
        return f"model {result['model_id']} (average precision {result['average_precision']:.3f})"
    except (OSError, ValueError, LookupError, TypeError):
        return "a model"


def _create_store(store: Path) -> None:
    command = [sys.executable, "-m", "bytewax.recovery", str(store), "1"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if made.returncode:
        msg = f"recovery store {store} cannot be made"
        raise DemoError(msg, made.stderr)


def without_password(url: str) -> str:
    """Return an address that may be shown.

    >>> without_password("redis://bank:secret@127.0.0.1:6379/0")
    'redis://127.0.0.1:6379/0'
    """
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
