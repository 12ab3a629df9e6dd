"""The whole flow against the reference, on the engine: any batches, one worker and two, before and after a crash."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSource, cluster_main, run_main  # type: ignore[attr-defined,unused-ignore]

from dataflows import partition_pieces
from dataflows.flags import FlagMessages
from dataflows.items import RawBatch
from dataflows.service import Service
from features.live_sessions import vector_after
from model.artifacts import ArtifactShelf
from model.decision import Level
from model.scorer import Scorer
from schemas.events import EVENT_TYPES
from tests.builders import a_session, an_event, event_frame, event_only, framed
from tests.dataflows.running_flow import ListedFlow, raw_batch, settings_for
from tests.reference import ReferenceAdmission, ReferencePageWindows, ReferenceRow, ReferenceSessions
from tests.reference_flags import ReferenceFlags
from tests.streams import long_cut, long_stream

Run = Callable[[Dataflow], None]

EVENTS = 1_500


def on_one_worker(flow: Dataflow) -> None:
    run_main(flow)


def on_two_workers(flow: Dataflow) -> None:
    cluster_main(flow, [], 0, worker_count_per_proc=2)


def stream_items(model_id: str, partitions: int) -> list[tuple[str, RawBatch]]:
    """One awkward stream a partition, cut into batches at random, the partitions taking turns."""
    per_partition = []
    for partition in range(partitions):
        records = records_of(partition)
        cut = long_cut(partition, EVENTS)
        batches = [
            (
                str(partition),
                raw_batch(
                    [framed(record) for record in records[place]],
                    model_id,
                    partition=partition,
                    first_offset=place.start,
                ),
            )
            for place, _ in cut.batches()
            if place.stop > place.start
        ]
        per_partition.append(batches)
    longest = max(map(len, per_partition))
    return [batches[at] for at in range(longest) for batches in per_partition if at < len(batches)]


def records_of(partition: int) -> list[dict[str, Any]]:
    """One awkward stream, its sessions unlike those of other partitions, an unknown address as text that is none."""
    stream = long_stream(seed=partition, count=EVENTS, sessions=12, calm=partition % 2 == 0)
    return [
        event_only(record) | {"session_id": f"{record['session_id']}@{partition}", "ip": record["ip"] or "unknown"}
        for record in stream.records
    ]


Row = tuple[dict[str, Any], list[float], float]


def rows_of(flow: ListedFlow, partition: int) -> list[Row]:
    """Give event, vector and score of everything that was decided on in a partition, in order."""
    return [
        row
        for decided in flow.decided(partition)
        for row in zip(
            decided.scored.features.enriched.events.to_dicts(),
            decided.scored.features.rows.matrix.tolist(),
            decided.scored.score.tolist(),
            strict=True,
        )
    ]


def flags_of(flow: ListedFlow, partition: int) -> list[tuple[str, int]]:
    """Give id and triggering offset of every flag of a partition, in order."""
    return [
        (crossing.flag_id, int(decided.scored.features.enriched.events["offset"][crossing.row]))
        for decided in flow.decided(partition)
        for crossing in decided.crossings
    ]


def newest_counts(flow: ListedFlow, partition: int) -> dict[tuple[str, int], int]:
    """Give the last count that was given of every page and minute."""
    return {(count.page, count.minute_ms): count.count for batch in flow.counted(partition) for count in batch.counts}


def newest_vectors(flow: ListedFlow, partition: int) -> dict[str, list[float]]:
    """Give the last vector of every session."""
    return {event["session_id"]: vector for event, vector, _ in rows_of(flow, partition)}


def assert_as_the_reference(flow: ListedFlow, partition: int) -> None:
    """Compare everything that came out with the record-at-a-time meaning of it."""
    rows, vectors, counts, late = expected_of(partition)
    scored = rows_of(flow, partition)
    assert [event["offset"] for event, _, _ in scored] == [row.offset for row in rows]
    assert [vector for _, vector, _ in scored] == vectors
    letters = [letter.offset for batch in flow.admitted(partition) for letter in batch.dead_letters]
    assert letters == late
    assert newest_counts(flow, partition) == counts
    assert flags_of(flow, partition) == reference_flags_of(scored)


def expected_of(
    partition: int,
) -> tuple[list[ReferenceRow], list[list[float]], Counter[tuple[str, int]], list[int]]:
    admission, windows, sessions = ReferenceAdmission(), ReferencePageWindows(), ReferenceSessions()
    rows, vectors, late = [], [], []
    for offset, record in enumerate(records_of(partition)):
        known_ip = None if record["ip"] == "unknown" else record["ip"]
        row = ReferenceRow.from_record(record | {"offset": offset, "ip": known_ip})
        verdict = admission.judge(row)
        if verdict == "admitted":
            rows.append(row)
            vectors.append(sessions.update(row))
            windows.update(row)
        elif verdict == "late":
            late.append(offset)
    return rows, vectors, windows.counts, late


def reference_flags_of(rows: list[Row]) -> list[tuple[str, int]]:
    """Decide again, one row after the other, from the scores that the flow gave."""
    flags, sessions = ReferenceFlags(), ReferenceSessions()
    expected = []
    for event, _, score in rows:
        row = ReferenceRow.from_record(event | {"event_type": EVENT_TYPES[event["event_type"]]})
        sessions.update(row)
        instance = sessions.instance(row.session_id)
        assert instance is not None
        flag = flags.update(row.session_id, instance.first, score)
        if flag is not None:
            expected.append((flag.flag_id, event["offset"]))
    return expected


@pytest.mark.parametrize("run", [on_one_worker, on_two_workers])
def test_the_flow_gives_what_the_reference_gives_on_one_worker_and_on_two(
    run: Run, model_dir: Path, model_id: str
) -> None:
    flow = ListedFlow(model_dir, stream_items(model_id, 3))

    run(flow.dataflow())

    for partition in range(3):
        assert_as_the_reference(flow, partition)
    assert sum(len(flags_of(flow, partition)) for partition in range(3)) > 5


def whole(items: list[tuple[str, RawBatch]]) -> list[tuple[str, RawBatch]]:
    return items


def in_pieces(items: list[tuple[str, RawBatch]]) -> list[tuple[str, RawBatch]]:
    """Every batch opens a snapshot of its partition, as with an epoch for each."""
    snapshots: Counter[str] = Counter()
    numbered = []
    for key, batch in items:
        snapshots[key] += 1
        numbered.append((key, replace(batch, opens_snapshot=snapshots[key])))
    return numbered


@pytest.mark.parametrize("written", [whole, in_pieces])
@pytest.mark.parametrize("ends", [{1: "ABORT"}, {9: "ABORT"}, {23: "ABORT"}, {7: "EOF", 19: "ABORT", 25: "EOF"}])
def test_after_a_crash_the_outcome_is_that_of_an_uninterrupted_run(
    ends: dict[int, str],
    written: Callable[[list[Any]], list[Any]],
    model_dir: Path,
    model_id: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(partition_pieces, "PIECES", 4)
    calm = ListedFlow(model_dir, stream_items(model_id, 2))
    run_main(calm.dataflow())
    items = written(stream_items(model_id, 2))
    assert len(items) > max(ends) + 3
    for place, end in ends.items():
        items.insert(place, getattr(TestingSource, end)())
    crashed = ListedFlow(model_dir, items)
    init_db_dir(tmp_path, 1)
    recovery = RecoveryConfig(str(tmp_path))

    for _ in range(len(ends) + 2):  # the engine's list does not count an ABORT that it has passed, and reads one twice
        run_main(crashed.dataflow(), epoch_interval=timedelta(0), recovery_config=recovery)

    for partition in range(2):
        assert newest_counts(crashed, partition) == newest_counts(calm, partition)
        assert newest_vectors(crashed, partition) == newest_vectors(calm, partition)
        assert set(flags_of(crashed, partition)) == set(flags_of(calm, partition))


def test_every_record_ends_in_exactly_one_place(model_dir: Path, model_id: str) -> None:
    good = an_event(event_id="good")
    values = [framed(good), None, framed(good), b"\x00\x00\x00\x00\x01\xff", framed(an_event(latency_ms=-1))]
    flow = ListedFlow(model_dir, [("0", raw_batch(values, model_id, first_offset=100))])

    run_main(flow.dataflow())

    (batch,) = flow.admitted(0)
    assert [letter.offset for letter in batch.dead_letters] == [101, 103, 104]
    assert [letter.value for letter in batch.dead_letters] == [values[1], values[3], values[4]]
    assert [event["offset"] for event, _, _ in rows_of(flow, 0)] == [100]


def test_a_flag_carries_all_that_is_needed_to_compute_it_again(model_dir: Path, model_id: str) -> None:
    records = a_session(["login_failed"] * 6 + ["transfer"] * 3)
    items = [("0", raw_batch([framed(r) for r in records[:2]], model_id))]
    items += [("0", raw_batch([framed(r) for r in records[2:]], model_id, first_offset=2))]
    flow = ListedFlow(model_dir, items)
    run_main(flow.dataflow())
    messages = FlagMessages(Service(settings_for(model_dir)))

    flags = [messages.record(decided, crossing) for decided in flow.decided(0) for crossing in decided.crossings]

    assert flags
    scorer = Scorer(ArtifactShelf(model_dir).load(model_id))
    for flag in flags:
        event = event_frame([records[flag["offset"]]]).with_columns(pl.lit(flag["offset"]).alias("offset"))
        vector = vector_after(flag["state_before"], event)
        assert vector.tolist() == flag["features"]
        assert scorer.raw(vector.reshape(1, -1)).tolist() == [flag["raw_score"]]
        assert flag["score"] > flag["threshold"]
        assert flag["first_offset"] == 0
        assert flag["reasons"]


def test_batches_of_two_configurations_are_scored_each_by_its_own(model_dir: Path, model_id: str) -> None:
    strict = raw_batch([framed(record) for record in a_session(["login_failed"] * 9)], model_id, partition=1)
    never = replace(strict.configuration, levels=(Level("review", 0.999),))
    lenient = replace(strict, partition=0, configuration=never)
    flow = ListedFlow(model_dir, [("0", lenient), ("1", strict)])

    run_main(flow.dataflow())

    assert flags_of(flow, 0) == []
    assert flags_of(flow, 1)


def test_the_readme_shows_the_flow_as_the_engine_sees_it() -> None:
    command = [sys.executable, "-m", "bytewax.visualize", "dataflows.fraud", "-o", "mermaid"]
    drawn = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603

    assert drawn in Path("README.md").read_text()
