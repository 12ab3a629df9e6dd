"""`python -m tests.golden.states`: write this release's state into tests/golden/<version>/, once, at its release.

The state is that of a small fixed stream; what it must give when it is read again stands beside it.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from dataflows.connectors.start_offsets import Position
from dataflows.items import Configuration
from features.admission import Admission
from features.events import EventColumns
from features.live_sessions import LiveSessions
from features.page_windows import PageWindows
from features.pages import with_normal_pages
from model.decision import Decisions, Level
from tests.builders import a_session, event_frame

FOLDER = Path(__file__).parent
LEVELS = (Level("review", 0.8), Level("block", 0.95))


def events_before() -> pl.DataFrame:
    """Return the stream before the snapshot."""
    first = a_session(["login_failed", "login", "page_view"], session_id="s-1", page="/accounts/17")
    second = a_session(["login", "input", "transfer"], session_id="s-2", ip="198.51.100.4", step_ms=700)
    records = sorted(first + second, key=lambda record: record["timestamp"])
    return with_normal_pages(event_frame([record | {"offset": at} for at, record in enumerate(records)]))


def events_after() -> pl.DataFrame:
    """Return the stream after it: both sessions go on, one event comes again."""
    again = a_session(["login_failed", "login", "page_view"], session_id="s-1", page="/accounts/17")[2:]
    more = a_session(["click"], session_id="s-2", start_ms=again[0]["timestamp"] + 1_000)
    more[0]["event_id"] = "s-2-new"
    return with_normal_pages(event_frame([record | {"offset": 6 + at} for at, record in enumerate(again + more)]))


def written() -> dict[str, bytes]:
    """Return the state after the first part of the stream, by name."""
    admission, windows, sessions, decisions = Admission(), PageWindows(), LiveSessions(), Decisions()
    events = events_before()
    watermark_ms = admission.judge(EventColumns.from_frame(events)).watermark_ms
    windows.count(events, watermark_ms)
    rows = sessions.update(events, watermark_ms)
    decisions.decide(rows, np.linspace(0.5, 0.9, events.height), LEVELS)
    position = Position(6, 6, Configuration("0123456789abcdef", "fedcba9876543210", LEVELS, "redis"))
    states = {"admission": admission, "page_windows": windows, "live_sessions": sessions, "decisions": decisions}
    return {name: state.snapshot() for name, state in states.items()} | {"position": position.to_bytes()}


def what_follows(stored: dict[str, bytes]) -> dict[str, Any]:
    """Read states back, go on with the second part of the stream, and return what comes of it."""
    admission, windows, sessions, decisions = Admission(), PageWindows(), LiveSessions(), Decisions()
    for name, state in zip(stored, (admission, windows, sessions, decisions), strict=False):
        state.restore(stored[name])
    events = events_after()
    verdicts = admission.judge(EventColumns.from_frame(events))
    counts = windows.count(events, verdicts.watermark_ms)
    rows = sessions.update(events, verdicts.watermark_ms)
    crossings = decisions.decide(rows, np.array([0.85, 0.99]), LEVELS)
    position = Position.from_bytes(stored["position"])
    return {
        "verdicts": verdicts.verdict.tolist(),
        "counts": [[count.page, count.minute_ms, count.count] for count in counts],
        "vectors": [[value.hex() for value in vector] for vector in rows.matrix.tolist()],
        "partial": rows.partial.tolist(),
        "crossings": [[crossing.flag_id, crossing.level.name, crossing.is_first] for crossing in crossings],
        "scored": decisions.scored,
        "position": [position.offset, position.consumed, position.configuration.id],
    }


def main(version: str) -> None:
    """Write the states and what follows from them."""
    folder = FOLDER / version
    folder.mkdir()
    stored = written()
    for name, state in stored.items():
        (folder / f"{name}.bin").write_bytes(state)
    (folder / "what_follows.json").write_text(json.dumps(what_follows(stored), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
