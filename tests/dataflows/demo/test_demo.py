import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import redis

from dataflows.demo import past
from dataflows.demo.__main__ import Options, main, options_from
from dataflows.demo.processes import Children, DemoError, Stop, StoppedEarlyError, ending_of
from dataflows.demo.start import Start, environment_of, settings_of, without_password
from features.profile import read
from infra.embedded import EmbeddedRedis
from infra.server_process import ServerProcess
from model.simulator import SimulatorConfig, simulate

LIVES = "import time; time.sleep(600)"
FAILS = "import sys; print('first'); sys.exit('no such topic')"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
PATIENCE_SECONDS = 10.0


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def children(stack: ExitStack, tmp_path: Path) -> Children:
    return Children(stack, tmp_path)


@pytest.fixture
def old_signals() -> Iterator[None]:
    """Give the signals back that the demo takes over."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder without runs, stores and models."""
    monkeypatch.chdir(tmp_path)


def start_python(children: Children, name: str, program: str) -> ServerProcess:
    return children.start(name, [sys.executable, "-c", program], dict(os.environ), grace_seconds=PATIENCE_SECONDS)


def a_start(stack: ExitStack, children: Children, folder: Path, said: list[str], **env: str) -> Start:
    return Start(stack, children, environment_of({**os.environ, **env}), folder, Stop(), said.append)


def test_without_arguments_it_runs_on_with_fifty_events_a_second() -> None:
    assert options_from([]) == Options(seconds=None, rate=50.0, seed=7)


def test_arguments_set_seconds_rate_and_seed() -> None:
    assert options_from(["--seconds", "20", "--rate", "0.5", "--seed", "3"]) == Options(20, 0.5, 3)


@pytest.mark.parametrize(
    "arguments",
    [["--seconds", "0"], ["--seconds", "soon"], ["--rate", "-1"], ["--rate", "nan"], ["--seed", "x"], ["--speed", "9"]],
)
def test_a_bad_argument_is_refused_in_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        options_from(arguments)

    assert refusal.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert arguments[0] in line


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("METRICS_PORT", "http", 2),
        ("REVIEW_ABOVE", "2", 2),
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1", 1),
        ("REDIS_URL", "redis://user:secret@127.0.0.1:1/0", 1),
    ],
)
@pytest.mark.usefixtures("old_signals", "empty_folder")
def test_what_cannot_start_is_said_in_one_line(
    name: str, value: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setattr("dataflows.demo.start.TOPICS_SECONDS", 0.5)

    assert main(["--seconds", "1"]) == status

    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("demo: ")
    assert "secret" not in line


def test_a_child_that_dies_early_is_told_with_its_last_words(children: Children, tmp_path: Path) -> None:
    start_python(children, "simulator", LIVES)
    start_python(children, "flow", FAILS).wait(PATIENCE_SECONDS)

    with pytest.raises(DemoError) as death:
        children.check()

    assert str(death.value) == f"the flow ended with exit status 1, see {tmp_path / 'flow.log'}"
    assert death.value.log == "  first\n  no such topic\n"


def test_a_server_that_dies_is_told(children: Children, tmp_path: Path) -> None:
    server = ServerProcess("redis", tmp_path / "redis.log")
    server.start([sys.executable, "-c", LIVES])
    children.watch_server("the embedded Redis", server.pid)
    children.check()

    os.kill(server.pid, signal.SIGKILL)
    os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)

    with pytest.raises(DemoError, match="the embedded Redis has ended"):
        children.check()
    assert server.wait() == -signal.SIGKILL  # looking took nothing away from who started it


def test_a_child_that_ends_when_told_is_no_failure(children: Children) -> None:
    child = start_python(children, "simulator", LIVES)

    status = children.end(child, PATIENCE_SECONDS)

    assert ending_of(status) == "was ended by SIGTERM"
    children.check()


def test_a_child_that_does_not_end_is_killed_and_its_status_says_so(children: Children, tmp_path: Path) -> None:
    child = start_python(children, "flow", STUBBORN)
    while "up" not in (tmp_path / "flow.log").read_text():
        children.check()

    status = children.end(child, 0.05)

    assert ending_of(status) == "was ended by SIGKILL"


def test_nothing_is_left_running_when_something_fails_half_way(tmp_path: Path) -> None:
    pids: list[int] = []

    def fail_half_way() -> None:
        with ExitStack() as stack:
            children = Children(stack, tmp_path)
            pids.extend(start_python(children, name, LIVES).pid for name in ("flow", "simulator"))
            children.start("another", [sys.executable, "-c", LIVES], {"NOT": "a\0value"}, grace_seconds=1)

    with pytest.raises(ValueError, match="null byte"):
        fail_half_way()

    assert len(pids) == 2
    assert not any(map(is_running, pids))


@pytest.mark.usefixtures("old_signals")
def test_a_signal_ends_a_wait_and_is_remembered() -> None:
    stop = Stop.on_signals()
    begun = time.monotonic()
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGHUP)).start()

    stop.wait(60)

    assert time.monotonic() - begun < 30
    with pytest.raises(StoppedEarlyError):
        stop.raise_if_asked()


def test_children_get_one_thread_a_library_and_no_empty_addresses() -> None:
    env = environment_of({"REDIS_URL": "", "KAFKA_BOOTSTRAP_SERVERS": "", "RUST_BACKTRACE": "1", "LANE": "0"})

    assert env == {"LANE": "0", "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}


def test_settings_can_be_checked_before_there_is_a_kafka() -> None:
    assert settings_of({"REVIEW_ABOVE": "0.5"}).review_above == 0.5


@pytest.mark.parametrize("is_kept", [True, False])
@pytest.mark.usefixtures("empty_folder")
def test_the_recovery_store_is_made_and_ours_alone(
    stack: ExitStack, children: Children, tmp_path: Path, *, is_kept: bool
) -> None:
    said: list[str] = []

    store = a_start(stack, children, tmp_path, said).recovery_store("lane-0", is_kept=is_kept)

    assert (store / "part-0.sqlite3").is_file()
    assert stat.S_IMODE(store.stat().st_mode) == 0o700
    assert said == []


@pytest.mark.usefixtures("empty_folder")
def test_a_kept_recovery_store_is_used_again(stack: ExitStack, children: Children, tmp_path: Path) -> None:
    said: list[str] = []
    store = Path("var/recovery/lane-3")
    store.mkdir(parents=True)
    (store / "part-0.sqlite3").write_bytes(b"kept")

    found = a_start(stack, children, tmp_path, said).recovery_store("lane-3", is_kept=True)

    assert found == store
    assert (store / "part-0.sqlite3").read_bytes() == b"kept"
    assert said == [f"going on from the recovery store {store}"]


def test_a_recovery_store_of_an_embedded_run_goes_with_it(children: Children, tmp_path: Path) -> None:
    with ExitStack() as stack:
        store = a_start(stack, children, tmp_path, []).recovery_store("risk", is_kept=False)

    assert not store.exists()


def test_a_model_that_is_there_is_not_trained_again(
    stack: ExitStack, children: Children, tmp_path: Path, model_dir: Path
) -> None:
    said: list[str] = []

    a_start(stack, children, tmp_path, said, MODEL_DIR=str(model_dir)).model()

    assert said == []
    assert not (tmp_path / "training.log").exists()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("rediss://bank:se%40cret@redis.bank:6380/1?password=secret", "rediss://redis.bank:6380/1"),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
    ],
)
def test_a_shown_address_has_no_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_the_past_of_the_demos_bank_is_what_its_simulated_customers_have(
    empty_redis: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDIS_URL", empty_redis.url)
    monkeypatch.setattr(sys, "argv", ["past", "--customers", "40", "--attack-share", "0.1", "--seed", "3"])

    assert past.main() == 0

    bank = replace(SimulatorConfig(), customers=40)
    users = {event.record["user_id"] for event in islice(simulate(bank, 3, 50.0, start_ms=0), 500)}
    with redis.Redis.from_url(empty_redis.url) as client:
        known = {user for user in users if client.exists(f"profile:{user}")}
        newest = max(int(read([client.get(f"profile:{user}")])[0]["latest_ms"]) for user in known)
    assert len(known) > 0.8 * len(users)
    assert time.time() * 1000 - 86_400_000 < newest <= time.time() * 1000 + 3_600_000
    assert "profiles written" in capsys.readouterr().out
