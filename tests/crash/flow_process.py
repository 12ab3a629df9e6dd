"""The service as a process, and what it says of itself over HTTP; started, killed and asked by its process id only."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from infra.server_process import ServerProcess, free_port

REPOSITORY = Path(__file__).parents[2]
OUTCOMES = ("scored", "duplicate", "late", "dead")
SCORED = 'fraud_events_total{outcome="scored"}'
_BUCKET = 'fraud_pipeline_latency_seconds_bucket{le="'
_ASK_SECONDS = 2.0
_POLL_SECONDS = 0.05

Samples = dict[str, float]
"""The samples of `/metrics`, by name and labels as they stand there."""


class FlowError(AssertionError):
    """The service did what it must not do; the text ends with its log."""


def make_store(folder: Path) -> None:
    """Make an empty recovery store."""
    folder.mkdir(mode=0o700)
    subprocess.run([sys.executable, "-m", "bytewax.recovery", str(folder), "1"], check=True)  # noqa: S603 - our own


class FlowProcess:
    """One run of the service.

    Args:
        env: Its settings.
        store: Its recovery store.
        log_file: Where its output is appended to.
    """

    def __init__(self, env: Mapping[str, str], store: Path, log_file: Path) -> None:
        self._port = free_port()
        self._process = ServerProcess("flow", log_file)
        self.started = time.monotonic()
        command = [sys.executable, "-m", "bytewax.run", "dataflows.fraud", "-r", str(store), "-s", "1", "-b", "0"]
        self._process.start(command, cwd=REPOSITORY, env={**env, "METRICS_PORT": str(self._port)})

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_running

    def samples(self) -> Samples:
        """Return all samples; none while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=_ASK_SECONDS) as response:
                lines = response.read().decode().splitlines()
        except OSError:
            return {}
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}

    def is_ready(self) -> bool:
        """Ask `/ready`."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/ready", timeout=_ASK_SECONDS):
                return True
        except OSError:
            return False

    def scored(self) -> int:
        """Return how many records this process has scored."""
        return int(self.samples().get(SCORED, 0))

    def records(self) -> dict[str, dict[str, int]]:
        """Return the state's counts of records by partition and outcome."""
        records: dict[str, dict[str, int]] = {}
        for name, value in self.samples().items():
            if name.startswith("fraud_partition_records{"):
                outcome, partition = _labels(name)
                records.setdefault(partition, {})[outcome] = int(value)
        return records

    def wait_for(self, what: Callable[[], object], seconds: float = 60.0) -> None:
        """Wait until something is so.

        Raises:
            FlowError: If the service ends meanwhile, or it takes too long.
        """
        until = time.monotonic() + seconds
        while not what():
            if not self.is_running:
                msg = f"the service ended by itself, status {self._process.wait()}:\n{self.log_tail()}"
                raise FlowError(msg)
            if time.monotonic() > until:
                msg = f"not within {seconds} s:\n{self.log_tail()}"
                raise FlowError(msg)
            time.sleep(_POLL_SECONDS)

    def wait_for_end(self, ends: Mapping[int, int], seconds: float = 120.0) -> dict[str, dict[str, int]]:
        """Wait until every record up to these offsets has come to its end, and return the counts."""
        wanted = {str(partition): end for partition, end in ends.items()}

        def is_so() -> bool:
            records = self.records()
            return all(
                records.get(partition, {}).get("consumed") == end
                and sum(records[partition].get(outcome, 0) for outcome in OUTCOMES) == end
                for partition, end in wanted.items()
            )

        self.wait_for(is_so, seconds)
        return self.records()

    def kill(self) -> None:
        """End it with SIGKILL, and see that it died of that."""
        if not self.is_running:
            msg = f"the service had ended before it could be killed:\n{self.log_tail()}"
            raise FlowError(msg)
        self._process.kill()
        if (status := self._process.wait(0)) != -signal.SIGKILL:
            msg = f"expected a process that died by SIGKILL, its status is {status}"
            raise FlowError(msg)

    def send(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self, seconds: float) -> int:
        """Wait for its end; return its status."""
        return self._process.wait(seconds)

    def drain(self, seconds: float = 20.0) -> None:
        """Ask it to end, and see that it drained."""
        self.send(signal.SIGTERM)
        if (status := self.wait(seconds)) != 0:
            msg = f"expected a drain with status 0, got {status}:\n{self.log_tail()}"
            raise FlowError(msg)

    def discard(self) -> None:
        """End it however it is; harmless when it has ended."""
        self._process.kill()

    def log_tail(self) -> str:
        """Return the end of its log."""
        return self._process.log_tail()


def _labels(name: str) -> tuple[str, str]:
    """Return outcome and partition out of a sample's labels."""
    inside = name.partition("{")[2].rstrip("}")
    pairs = dict(part.split("=", 1) for part in inside.split(","))
    return pairs["outcome"].strip('"'), pairs["partition"].strip('"')


def p95_ms(before: Samples, after: Samples) -> float | None:
    """Return below which bound the latency of 95 % of the events lay that were scored between two moments."""
    bounds = sorted(
        (float(name.removeprefix(_BUCKET).partition('"')[0]), count - before.get(name, 0.0))
        for name, count in after.items()
        if name.startswith(_BUCKET)
    )
    total = bounds[-1][1] if bounds else 0.0
    return next((bound * 1000 for bound, count in bounds if total and count >= 0.95 * total), None)
