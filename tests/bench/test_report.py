import json
from pathlib import Path
from typing import Any

from tests.bench.report import write_report

MACHINE = {"cpu": "1 core", "system": "Linux", "python": "3.11", "kafka": "Kafka", "redis": "Redis", "packages": {}}
SESSIONS = {"few": 10_000, "many": 200_000, "cost_ratio": 1.0, "bytes_a_session": 900, "memory_mb_few": 300}
CHECKED = {"checked_flags": 1_000, "checked_events": 500_000}


def keep(folder: Path, at: str, *, short: bool, **scenarios: dict[str, Any]) -> None:
    """Leave a run as the benchmark does."""
    figures = [{"scenario": name, "load": 1.0, **told} for name, told in scenarios.items()]
    run = {"at": at, "short": short, "machine": {"at": at, **MACHINE}, "figures": figures}
    (folder / f"result-{at}.json").write_text(json.dumps(run))


def throughput(cpu_us: float) -> dict[str, Any]:
    return {"cpu_us_an_event": cpu_us, "events_per_second": 100_000, **CHECKED}


def test_the_next_size_is_computed_from_the_newest_figures_whichever_run_they_are_of(tmp_path: Path) -> None:
    keep(tmp_path, "2026-11-24T10:00", short=False, throughput=throughput(99.0), live_sessions=SESSIONS)
    keep(tmp_path, "2026-11-25T10:00", short=True, throughput=throughput(20.0))
    file = tmp_path / "PERFORMANCE.md"

    write_report(tmp_path, file)

    section = file.read_text().split("## What 1,000,000 events/s would need")[1]
    assert "| lanes | 34 at 29,412 events/s |" in section
    assert "`throughput` of 2026-11-25T10:00 (short): cpu_us_an_event 20," in section
    assert "`live_sessions` of 2026-11-24T10:00: " in section


def test_without_any_run_the_report_says_which_are_missing(tmp_path: Path) -> None:
    file = tmp_path / "PERFORMANCE.md"

    write_report(tmp_path, file)

    assert "`throughput` has not been measured" in file.read_text()
