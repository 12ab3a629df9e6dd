from dataclasses import replace

import pytest

from dataflows.demo.figures import Flag
from dataflows.demo.terminal import Lines, display
from dataflows.demo.view import Snapshot

SNAPSHOT = Snapshot("running")
FLAGS = [Flag(f"f{number}", f"s{number}", "review", 0.9, ("LOGIN_FAILURES",)) for number in range(7)]


def test_without_a_terminal_plain_lines_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "CI", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)

    assert isinstance(display(), Lines)


@pytest.mark.parametrize("name", ["NO_COLOR", "CI"])
def test_a_terminal_that_wants_no_colour_gets_plain_lines(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv(name, "1")

    assert isinstance(display(), Lines)


def test_plain_lines_come_every_few_seconds_or_when_something_else_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines() as lines:
        for phase in ("running", "running", "running", "ending"):
            lines.show(replace(SNAPSHOT, phase=phase), [])

    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["running", "ending"]


def test_plain_lines_show_the_newest_flags_and_count_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines() as lines:
        lines.show(SNAPSHOT, FLAGS)

    _, *shown, rest = capsys.readouterr().out.splitlines()
    assert [line.split()[4] for line in shown] == ["s2:", "s3:", "s4:", "s5:", "s6:"]
    assert rest == "  and 2 flags before them"
