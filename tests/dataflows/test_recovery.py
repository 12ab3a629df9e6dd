import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bytewax.recovery import init_db_dir

from dataflows.ending import StartError
from dataflows.recovery import claim, recovery_directory, worker_count

HOLDER = """
import sys
from pathlib import Path
from dataflows.recovery import claim
descriptor = claim(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A new recovery store, as the engine makes it."""
    directory = tmp_path / "store"
    directory.mkdir(mode=0o700)
    init_db_dir(directory, 2)  # type: ignore[no-untyped-call]
    return directory


@pytest.fixture
def holder(store: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Another process that has the store."""
    command = [sys.executable, "-c", HOLDER, str(store)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_store_that_another_process_uses_is_refused(store: Path, holder: "subprocess.Popen[bytes]") -> None:
    assert holder.poll() is None

    with pytest.raises(StartError, match="another process uses it"):
        claim(store)


def test_a_store_is_free_again_when_its_process_was_killed(store: Path, holder: "subprocess.Popen[bytes]") -> None:
    holder.kill()
    holder.wait()

    os.close(claim(store))


def test_processes_of_one_cluster_share_a_store(store: Path, holder: "subprocess.Popen[bytes]") -> None:
    assert holder.poll() is None

    os.close(claim(store, process_id=1))


@pytest.mark.parametrize("make", [True, False])
def test_a_store_that_is_not_there_is_refused_with_how_to_make_it(make: bool, tmp_path: Path) -> None:
    directory = tmp_path / "store"
    if make:
        directory.mkdir()

    with pytest.raises(StartError, match=f"found none; make one with: .* -m bytewax.recovery {directory} 1"):
        claim(directory)


@pytest.mark.parametrize("bits", [0o770, 0o707])
def test_a_folder_that_others_may_write_to_is_refused(bits: int, store: Path) -> None:
    store.chmod(bits)

    with pytest.raises(StartError, match="others may write to it, which lets them run code here"):
        claim(store)


def test_a_file_that_others_may_write_to_is_refused(store: Path) -> None:
    (store / "part-1.sqlite3").chmod(0o666)

    with pytest.raises(StartError, match=r"part-1.sqlite3: others may write to it"):
        claim(store)


@pytest.mark.parametrize("content", [b"", b"SQLite", b"not a database at all"])
def test_a_corrupt_file_is_refused(content: bytes, store: Path) -> None:
    (store / "part-1.sqlite3").write_bytes(content)

    with pytest.raises(StartError, match=r"part-1.sqlite3: corrupt, expected an SQLite file"):
        claim(store)


@pytest.mark.parametrize(
    "words",
    [
        ["-r", "STORE", "-s", "1", "-b", "0"],
        ["-rSTORE", "-s", "1", "-b0"],
        ["-s", "1", "--recovery-directory", "STORE"],
        ["--recovery-directory=STORE", "-w", "2"],
        ["-b", "0", "--recovery", "STORE"],
        ["-r", "ELSEWHERE", "-r", "STORE"],
    ],
)
def test_the_store_is_found_where_the_engine_finds_it(words: list[str]) -> None:
    argv = ["bytewax/run.py", "dataflows.fraud", *words]

    assert recovery_directory(argv, {"BYTEWAX_RECOVERY_DIRECTORY": "OTHER"}) == Path("STORE")


def test_without_a_word_on_the_command_line_the_environment_names_the_store() -> None:
    argv = ["bytewax/run.py", "dataflows.fraud", "-s", "1"]

    assert recovery_directory(argv, {"BYTEWAX_RECOVERY_DIRECTORY": "STORE"}) == Path("STORE")
    assert recovery_directory(argv, {"BYTEWAX_RECOVERY_DIRECTORY": ""}) is None
    assert recovery_directory(argv, {}) is None


@pytest.mark.parametrize(
    ("words", "env", "workers"),
    [
        ([], {}, 1),
        (["-w", "3"], {"BYTEWAX_WORKERS_PER_PROCESS": "2"}, 3),
        ([], {"BYTEWAX_WORKERS_PER_PROCESS": "2", "BYTEWAX_ADDRESSES": ""}, 2),
        (["-i0", "-a", "here:1;there:2", "-w2"], {}, 4),
        ([], {"BYTEWAX_WORKERS_PER_PROCESS": "", "BYTEWAX_ADDRESSES": "here:1;there:2"}, 2),
    ],
)
def test_the_workers_of_all_processes_are_counted(words: list[str], env: dict[str, str], workers: int) -> None:
    assert worker_count(["bytewax/run.py", "dataflows.fraud", *words], env) == workers
