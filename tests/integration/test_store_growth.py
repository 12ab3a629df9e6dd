"""The recovery store stays as small as the state: sessions come and go, snapshots follow each other."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

from tests.builders import A_MINUTE_MS, an_event, framed
from tests.dataflows.running_flow import ListedFlow, raw_batch

SESSIONS = 120
TWO_HOURS_MS = 2 * 3_600_000


def batches(model_id: str, count: int) -> list[tuple[str, Any]]:
    """Each batch brings new sessions, two hours after those before it, which are over then."""
    items = []
    for number in range(count):
        at_ms = A_MINUTE_MS + number * TWO_HOURS_MS // 3
        names = [f"session-{number}-{session}" for session in range(SESSIONS)]
        values = [framed(an_event(session_id=name, event_id=name, timestamp=at_ms)) for name in names]
        items.append(("0", raw_batch(list(values), model_id, first_offset=number * SESSIONS)))
    return items


def test_a_hundred_snapshots_with_sessions_coming_and_going_do_not_make_the_store_grow(
    model_dir: Path, model_id: str, tmp_path: Path
) -> None:
    init_db_dir(tmp_path, 1)
    sizes = []
    for count in (34, 68, 102):
        flow = ListedFlow(model_dir, batches(model_id, count))  # the source goes on where it was
        run_main(flow.dataflow(), epoch_interval=timedelta(0), recovery_config=RecoveryConfig(str(tmp_path)))
        sizes.append(sum(path.stat().st_size for path in tmp_path.glob("part-*")))
        with closing(sqlite3.connect(tmp_path / "part-0.sqlite3")) as database:
            (rows,) = database.execute("SELECT COUNT(*) FROM snaps").fetchone()
            assert rows < 60, "the engine forgets old snapshots, and no session has a row of its own"

    assert len(flow.admitted(0)) == 34
    ring_bytes = 34 * SESSIONS * 8
    assert sizes[-1] - sizes[0] < 3 * 3 * ring_bytes + 100_000, sizes
