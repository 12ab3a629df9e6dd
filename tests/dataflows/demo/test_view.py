import io
import math
from dataclasses import replace

import pytest
from rich.console import Console

from dataflows.demo.figures import Figures, Flag, Histogram, PageTable
from dataflows.demo.view import Snapshot, flag_line, screen, status_line

FLAG = Flag("f1", "0190f2a4-7c…", "block", 0.9731, ("LOGIN_FAILURES (session_login_failures 6)", "DEVICE_RISK"))
SNAPSHOT = Snapshot(
    phase="running",
    seconds=12.4,
    figures=Figures(scored=590, dead=4, late=3, duplicates=2, lag=17, live_sessions=42),
    events_per_second=49.96,
    latency=Histogram((0.01, 0.02, math.inf), (50, 100, 100)),
    flags=(FLAG,),
    flag_count=31,
    pages=PageTable(("05:03", "05:04"), (("/login", (120, 33)), ("/accounts/:n", (7, 8)))),
    addresses=(("Kafka", "127.0.0.1:29092"), ("metrics", "http://127.0.0.1:21234/metrics")),
)


def drawn(snapshot: Snapshot, width: int = 140, height: int = 40) -> str:
    console = Console(record=True, width=width, height=height, file=io.StringIO())
    console.print(screen(snapshot, width, height))
    return console.export_text()


@pytest.mark.parametrize("width", [80, 140])
def test_the_screen_shows_figures_flags_pages_and_addresses(width: int) -> None:
    text = drawn(SNAPSHOT, width)

    for shown in ("running", "events/s 50.0", "lag 17", "flags 31", "live sessions 42", "dead letters 4", "late 3"):
        assert shown in text
    for shown in ("p50 10.0 ms", "p95 19.0 ms", "p99 19.8 ms", "duplicates 2", "events 599"):
        assert shown in text
    for shown in ("0190f2a4-7c…", "0.973", "block", "LOGIN_FAILURES", "/accounts/:n", "05:04", "120", "33"):
        assert shown in text
    assert "127.0.0.1:29092" in text
    assert "http://127.0.0.1:21234/metrics" in text


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 50), (120, 30), (200, 60)])
def test_the_screen_fits_the_terminal_whatever_comes(width: int, height: int) -> None:
    pages = tuple((f"/page/{number}" * 9, (number, number)) for number in range(500))
    flags = tuple(replace(FLAG, reasons=("REASON " * 30,)) for _ in range(50))
    full = replace(SNAPSHOT, flags=flags, pages=replace(SNAPSHOT.pages, rows=pages))

    lines = drawn(full, width, height).splitlines()

    assert len(lines) < height
    assert max(map(len, lines)) <= width


def test_names_of_pages_are_text_and_not_markup() -> None:
    pages = PageTable(("05:04",), (("/[bold]pay[/bold]", (1,)),))

    assert "/[bold]pay[/bold]" in drawn(replace(SNAPSHOT, pages=pages))


def test_an_empty_snapshot_can_be_drawn() -> None:
    assert "the flow is starting" in drawn(Snapshot("the flow is starting"))


def test_without_a_terminal_one_line_says_it_all() -> None:
    assert status_line(SNAPSHOT) == (
        "running 12 s: 599 events (50.0/s), lag 17, flags 31, latency p50 10.0 ms p95 19.0 ms p99 19.8 ms, "
        "dead letters 4, duplicates 2, late 3, live sessions 42"
    )


def test_a_flag_in_one_line_has_session_score_level_and_reasons() -> None:
    assert flag_line(FLAG) == (
        "flag block 0.973 session 0190f2a4-7c…: LOGIN_FAILURES (session_login_failures 6), DEVICE_RISK"
    )
