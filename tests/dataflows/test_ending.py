import signal
import subprocess
import sys
import time

import pytest

from dataflows.ending import StartError, is_foreseen, root_of
from dataflows.settings import SettingsError

START = """
import sys, time
from dataflows.ending import Ending, StartError
ending = Ending(stop_timeout_seconds={timeout})
ending.take_over()
print("ready", flush=True)
"""
DRAINS = """
while not ending.stopping:
    time.sleep(0.005)
print("drained", flush=True)
"""
HANGS = """
while True:
    time.sleep(0.005)
"""


def run(body: str, number: int | None = None, timeout: float = 10) -> "subprocess.CompletedProcess[str]":
    """Run a service that has taken over its ending, send it a signal when it is ready, and wait for its end."""
    command = [sys.executable, "-c", START.format(timeout=timeout) + body]
    with subprocess.Popen(  # noqa: S603 - our own command
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        if number is not None:
            process.send_signal(number)
        output, errors = process.communicate(timeout=20)
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_for_the_end_and_the_process_drains(number: int) -> None:
    ended = run(DRAINS, number)

    assert ended.returncode == 0
    assert ended.stdout == "drained\n"


def test_a_process_that_does_not_drain_leaves_with_status_1_when_its_time_is_up() -> None:
    began = time.monotonic()

    ended = run(HANGS, signal.SIGTERM, timeout=0.2)

    assert ended.returncode == 1
    assert "not drained within 0.2 s: leaving, the last epoch will repeat" in ended.stderr
    assert time.monotonic() - began < 5


def test_a_foreseen_error_is_one_line_however_the_engine_wraps_it() -> None:
    body = """
try:
    raise StartError("no topic clicks") from OSError("connection refused")
except StartError as error:
    raise RuntimeError("the engine failed") from error
"""

    ended = run(body)

    assert ended.returncode == 1
    assert ended.stderr == "fraud: no topic clicks\n"


def test_an_unforeseen_error_has_its_traceback_and_its_root_in_the_last_line() -> None:
    body = """
try:
    {}["page"]
except KeyError as error:
    raise RuntimeError("the engine failed") from error
"""

    ended = run(body)

    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
    assert ended.stderr.splitlines()[-1] == "fraud: KeyError: 'page'"


def test_the_root_is_the_first_foreseen_error_or_else_the_first_of_all() -> None:
    first = OSError("refused")
    foreseen = StartError("no Kafka")
    foreseen.__cause__ = first
    wrapped = RuntimeError("the engine failed")
    wrapped.__context__ = foreseen
    bare = RuntimeError("the engine failed")
    bare.__cause__ = first

    assert root_of(wrapped) is foreseen
    assert root_of(bare) is first


def test_a_context_that_was_taken_away_is_not_the_root() -> None:
    error = RuntimeError("what we want to say")
    error.__context__ = KeyError("a detail")
    error.__suppress_context__ = True

    assert root_of(error) is error


def test_only_errors_of_our_own_packages_are_foreseen() -> None:
    assert is_foreseen(SettingsError("LANE"))
    assert not is_foreseen(ValueError("LANE"))
