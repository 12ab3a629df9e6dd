"""`python -m tests.crash.restart`: what snapshots cost, and how soon the service is back with many live sessions.

Two measurements, one JSON line each, which is also kept for RELIABILITY.md. `snapshot_stall` runs the flow's own steps
on the engine with a recovery store, and times how long reading stands still at a snapshot. `restart` kills the real
service on a real Kafka with its sessions live, starts it again and waits for its first output. A store that is too
large for its state ends the command with 1; times depend on the machine and are only judged in words.
"""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, run_main
from confluent_kafka import Producer

from dataflows.fraud import Ends, build
from dataflows.service import Service
from infra.embedded import EmbeddedRedis
from infra.real_kafka import RealKafka
from model.artifacts import ArtifactShelf
from observability import metrics
from tests.builders import A_MINUTE_MS, an_event, framed
from tests.crash.flagging_model import save_flagging_model
from tests.crash.flow_process import make_store
from tests.dataflows.running_flow import raw_batch, settings_for
from tests.service import RunningService

BATCH = 5_000
PARTITIONS = 4
SNAPSHOTS = 5
RESTART_SESSIONS = 100_000
FOLDER = Path("var/crash/restart")
"""Where figures are kept, a file each, for `python -m tests.crash --report`."""
MOST_STORE_TO_STATE = 2.5
"""How large a recovery store may be beside the live state: the session tables in memory, without the other state."""
MOST_FIRST_OUTPUT_SECONDS = 10.0


def sessions_of(count: int, first: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield one event for each of so many sessions, all of them live at the end."""
    for number in range(first, first + count):
        session_id = f"{number:08d}-3b1a-4d5e-9c77-5f0a5b7f1c11"
        event = an_event(session_id=session_id, event_id=f"e-{number}", timestamp=A_MINUTE_MS + number // 100)
        yield session_id, framed(event)


class _Paced(StatefulSourcePartition[Any, int]):
    """Hands on batches, then one small batch an epoch; notes how long each snapshot keeps it from being asked."""

    def __init__(self, partition: int, batches: list[Any], stalls: list[float]) -> None:
        self._key = str(partition)
        self._batches = iter(batches)
        self._stalls = stalls
        self._snapshot_at: float | None = None

    def next_batch(self) -> Iterable[Any]:
        if self._snapshot_at is not None:
            self._stalls.append(time.perf_counter() - self._snapshot_at)
            self._snapshot_at = None
        batch = next(self._batches, None)
        if batch is None:
            raise StopIteration
        return [(self._key, batch)]

    def snapshot(self) -> int:
        self._snapshot_at = time.perf_counter()
        return 0


class _PacedSource(FixedPartitionedSource[Any, int]):
    def __init__(self, batches: dict[int, list[Any]], stalls: list[float]) -> None:
        self._batches = batches
        self._stalls = stalls

    def list_parts(self) -> list[str]:
        return [str(partition) for partition in self._batches]

    def build_part(self, _step_id: str, for_part: str, _resume_state: int | None) -> _Paced:
        return _Paced(int(for_part), self._batches[int(for_part)], self._stalls if for_part == "0" else [])


def snapshot_stall(sessions: int, model_dir: Path, model_id: str) -> dict[str, Any]:
    """Fill the session tables, then take snapshots of them: with a change in each partition, as a live flow has."""
    batches: dict[int, list[Any]] = {}
    for partition in range(PARTITIONS):
        share = sessions // PARTITIONS
        values = [value for _, value in sessions_of(share, partition * share)]
        cuts = [values[at : at + BATCH] for at in range(0, share, BATCH)]
        cuts += [[framed(an_event(session_id=f"late-{partition}", event_id=f"l-{n}"))] for n in range(SNAPSHOTS)]
        batches[partition] = [raw_batch(list(cut), model_id, partition=partition) for cut in cuts]
    stalls: list[float] = []
    outputs: list[Any] = []
    ends = Ends(_PacedSource(batches, stalls), *(TestingSink(outputs) for _ in range(4)))
    with tempfile.TemporaryDirectory() as folder:
        init_db_dir(Path(folder), 1)  # type: ignore[no-untyped-call]
        flow = build(Service(settings_for(model_dir)), ends)
        store = RecoveryConfig(folder)  # type: ignore[no-untyped-call]
        run_main(flow, epoch_interval=timedelta(0), recovery_config=store)  # type: ignore[no-untyped-call]
        store_bytes = _size_of(Path(folder))
        state_bytes = sum(sample.value for gauge in metrics.STATE_BYTES.collect() for sample in gauge.samples)
    full = stalls[-SNAPSHOTS:]
    return {
        "measurement": "snapshot_stall",
        "sessions": sessions,
        "stall_ms_median": round(sorted(full)[len(full) // 2] * 1000, 1),
        "stall_ms_max": round(max(full) * 1000, 1),
        **_sizes(store_bytes, state_bytes),
    }


def restart(sessions: int, model_dir: Path) -> dict[str, Any]:
    """Kill the service with so many live sessions, and see how soon it puts something out again."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kafka = stack.enter_context(RealKafka(folder / "kafka", heap="512m"))
        redis = stack.enter_context(EmbeddedRedis())
        kafka.create_topics({"clickstream-events": 4, "fraud-flags": 4, "clickstream-dead-letters": 4})
        store = folder / "store"
        make_store(store)
        addresses = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "REDIS_URL": redis.url}
        env = {**os.environ, **addresses, "MODEL_DIR": str(model_dir), "RUST_BACKTRACE": "0"}
        produce(kafka.bootstrap_servers, sessions_of(sessions))
        service = RunningService(env, store, folder / "log")
        stack.callback(service.process.kill)
        service.wait_for_all(sessions)
        begun = time.time()
        service.wait_for(lambda: sum(service.samples("fraud_snapshot_timestamp_seconds").values()) > begun + 1)
        state_bytes = sum(service.samples("fraud_state_bytes").values())
        assert service.stop(signal.SIGKILL) == -signal.SIGKILL
        store_bytes = _size_of(store)
        produce(kafka.bootstrap_servers, sessions_of(100, sessions))
        started = time.monotonic()
        again = RunningService(env, store, folder / "log")
        stack.callback(again.process.kill)
        again.wait_for(lambda: sum(again.samples("fraud_events_total").values()) > 0)
        seconds = time.monotonic() - started
        again.wait_for_all(sessions + 100)
        again.stop(signal.SIGTERM)
    return {
        "measurement": "restart",
        "sessions": sessions,
        "first_output_seconds": round(seconds, 2),
        "first_output_within_10_s": "ok" if seconds <= MOST_FIRST_OUTPUT_SECONDS else "not ok",
        **_sizes(store_bytes, state_bytes),
    }


def _sizes(store_bytes: int, state_bytes: float) -> dict[str, Any]:
    ratio = store_bytes / state_bytes
    return {
        "store_bytes": store_bytes,
        "state_bytes": int(state_bytes),
        "store_to_state": round(ratio, 2),
        "ok": ratio <= MOST_STORE_TO_STATE,
    }


def produce(bootstrap: str, records: Iterator[tuple[str, bytes]]) -> None:
    """Write records by session."""
    producer = Producer(
        {"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "queue.buffering.max.messages": 2_000_000}
    )
    for key, value in records:
        producer.produce("clickstream-events", value, key.encode())
    producer.flush(60)


def _size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def main(argv: Sequence[str] | None = None) -> int:
    """Run both, and print and keep a line each; return 1 if a store is too large for its state."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.restart", description=__doc__)
    parser.add_argument("--sessions", type=int, nargs="+", default=[10_000, 100_000, 500_000])
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        model_dir = save_flagging_model(Path(folder))
        model_id = ArtifactShelf(model_dir).current()
        measured = [note(snapshot_stall(sessions, model_dir, model_id), FOLDER) for sessions in given.sessions]
        unavailable = RealKafka.available()
        if unavailable:
            sys.stderr.write(f"restart: SKIPPED, nothing was killed and restarted: {unavailable}\n")
        else:
            measured.append(note(restart(RESTART_SESSIONS, model_dir), FOLDER))
    return 0 if all(measured) else 1


def note(figures: dict[str, Any], folder: Path) -> bool:
    """Print figures and keep them in a folder; say whether the store was small enough, and in a line if it was not."""
    at = datetime.now(UTC)
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{figures['measurement']}-{figures['sessions']}-{at:%Y%m%dT%H%M%S}.json"
    file.write_text(json.dumps({**figures, "at": at.isoformat(timespec="seconds"), "machine": machine}) + "\n")
    if not figures["ok"]:
        sys.stderr.write(
            f"restart: BROKEN: the recovery store of {figures['sessions']} live sessions is "
            f"{figures['store_to_state']} times the live state, expected at most {MOST_STORE_TO_STATE}\n"
        )
    return bool(figures["ok"])


if __name__ == "__main__":
    sys.exit(main())
