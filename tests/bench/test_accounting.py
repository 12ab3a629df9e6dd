import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.bench.accounting import Stat, cpu_seconds, memory_bytes, parse, tree

TICKS = os.sysconf("SC_CLK_TCK")


def a_stat(pid: int, parent: int) -> Stat:
    return Stat(pid, parent, 1.0, 0.0, 0)


def test_a_stat_is_read_by_place_whatever_the_name_of_the_program_is() -> None:
    before_times = "S 41 42 42 0 -1 4194560 1 2 3 4"
    text = f"42 (a (b) 7 c) {before_times} {3 * TICKS} {2 * TICKS} {TICKS} {TICKS} 20 0 1 0 99 8192 10 18446744073709"

    stat = parse(text)

    assert stat == Stat(42, 41, 5.0, 2.0, 10 * os.sysconf("SC_PAGE_SIZE"))


def test_a_tree_is_a_process_with_its_children_and_theirs_and_nobody_else() -> None:
    stats = [a_stat(5, 3), a_stat(3, 2), a_stat(2, 1), a_stat(4, 1), a_stat(6, 2)]

    assert sorted(stat.pid for stat in tree(2, stats)) == [2, 3, 5, 6]


def test_a_process_that_has_ended_is_an_empty_tree() -> None:
    assert tree(9, [a_stat(2, 1)]) == []


def test_our_own_cpu_time_is_what_the_system_says_of_this_process() -> None:
    before = time.process_time()
    until = before + 0.05
    while time.process_time() < until:
        pass

    own = parse(Path("/proc/self/stat").read_text())

    assert own.own_cpu == pytest.approx(time.process_time(), abs=0.1)


def test_the_cpu_time_of_a_grandchild_that_has_ended_counts() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}]); print(1, flush=True); input()"
    with subprocess.Popen(  # noqa: S603 - our own
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()

        assert 0.28 <= cpu_seconds(process.pid) < 5
        assert memory_bytes(process.pid) > 1_000_000
        process.communicate(b"\n")
