"""RELIABILITY.md's table of restarts, and the verdict on their figures."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.crash.report import write_report
from tests.crash.restart import note


def figures(**overrides: Any) -> dict[str, Any]:
    return {
        "measurement": "snapshot_stall",
        "sessions": 10_000,
        "stall_ms_median": 12.5,
        "stall_ms_max": 20.0,
        "store_bytes": 200,
        "state_bytes": 100,
        "store_to_state": 2.0,
        "ok": True,
    } | overrides


def a_restart(**overrides: Any) -> dict[str, Any]:
    own = {"measurement": "restart", "first_output_seconds": 11.25, "first_output_within_10_s": "not ok"}
    given = figures(**own, **overrides)
    return {name: value for name, value in given.items() if not name.startswith("stall")}


def rows_of(report: Path) -> list[list[str]]:
    table = report.read_text().partition("## With many live sessions")[2]
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_report_has_a_row_for_the_newest_figures_of_each_measurement(tmp_path: Path) -> None:
    older = figures(stall_ms_max=99.0) | {"at": "2026-01-01T00:00:00+00:00", "machine": "m"}
    (tmp_path / "restart").mkdir()
    (tmp_path / "restart" / "older.json").write_text(json.dumps(older))
    for measured in (figures(), figures(sessions=500_000, store_to_state=2.6, ok=False), a_restart()):
        note(measured, tmp_path / "restart")

    write_report(tmp_path, tmp_path / "report.md")

    assert [row[:6] for row in rows_of(tmp_path / "report.md")] == [
        ["snapshot_stall", "10000", "12.5 / 20", "", "200", "2"],
        ["**snapshot_stall FAILED**", "500000", "12.5 / 20", "", "200", "2.6"],
        ["restart", "10000", "", "11.25, not ok", "200", "2"],
    ]
    assert "`python -m tests.crash.restart --sessions 10000 500000`" in (tmp_path / "report.md").read_text()


def test_without_figures_of_restarts_the_report_has_no_table_of_them(tmp_path: Path) -> None:
    write_report(tmp_path, tmp_path / "report.md")

    assert "live sessions" not in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize(("ok", "said"), [(True, ""), (False, "restart: BROKEN: ")])
def test_a_store_that_is_too_large_is_said_in_one_line(
    ok: bool, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = note(figures(ok=ok), tmp_path)

    error = capsys.readouterr().err
    assert answer is ok
    assert error.startswith(said)
    assert error.count("\n") == bool(said)
