"""D01 to D19: whatever comes in, the record ends where it should with its bytes, and the next good one is scored."""

from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSource, run_main

from dataflows.flags import DeadLetterMessages
from dataflows.items import Headers, RawBatch
from dataflows.service import Service
from observability import metrics
from schemas import catalogue
from schemas.codec import WriterSchema
from tests.builders import A_MINUTE_MS, a_session, an_event, framed
from tests.dataflows.bad_records import BAD, DAY_MS, FROM_THE_END, GOOD, HOUR_MS, ODD, WRITERS, Bad
from tests.dataflows.running_flow import KAFKA_MS, ListedFlow, raw_batch, settings_for
from tests.schemas.builders import event_schema
from tests.schemas.builders import framed as framed_as

TOPIC = "clickstream-events"
ODD_KEY = b"\xff\x00key"
ODD_HEADERS: Headers = [("trace", b"\x00\xff"), ("trace", None), ("", b"")]
PADDING = 40
"""So many good records make a batch that is read as columns."""


def good_start() -> list[bytes]:
    """Give events of two sessions that agree on the time, so that there is a watermark."""
    return [framed(an_event(event_id=f"start-{n}", session_id=f"start-{n}")) for n in range(2)]


def good(count: int) -> list[bytes]:
    return [framed(record) for record in a_session(["page_view"] * count, session_id="good", step_ms=0)]


def letters_of(flow: ListedFlow, partition: int = 0) -> list[dict[str, Any]]:
    """Decode the dead letters as they would lie in Kafka."""
    messages = [message for batch in flow.admitted(partition) for message in DeadLetterMessages(TOPIC)(batch)]
    letters = [catalogue.read(catalogue.DEAD_LETTER, message.value) for message in messages]
    assert [message.key for message in messages] == [letter["key"] for letter in letters]
    return letters


def scored(flow: ListedFlow, partition: int = 0) -> list[dict[str, Any]]:
    """Give the events that were scored, in order."""
    return [
        event
        for batch in flow.decided(partition)
        for event in batch.scored.features.enriched.events.to_dicts()
        if len(batch.scored.score)
    ]


def offsets(flow: ListedFlow, partition: int = 0) -> list[int]:
    return [event["offset"] for event in scored(flow, partition)]


@cache
def service_with(model_dir: Path) -> Service:
    """Open a model once for all tests: that is most of what a run costs."""
    return Service(settings_for(model_dir))


def run(model_dir: Path, *batches: RawBatch, writers: dict[int, WriterSchema] | None = None) -> ListedFlow:
    items = [(str(batch.partition), batch) for batch in batches]
    flow = ListedFlow(model_dir, items, writers or WRITERS, service_with(model_dir))
    run_main(flow.dataflow())
    return flow


@pytest.mark.parametrize("among", [1, PADDING])
@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.case)
def test_a_bad_record_becomes_a_dead_letter_whole_and_the_next_good_one_is_scored(
    bad: Bad, among: int, model_dir: Path, model_id: str
) -> None:
    start = raw_batch(good_start(), model_id)
    values = [*good(among), bad.value, framed(an_event(session_id="next"))]
    place = 2 + among
    batch = raw_batch(
        values,
        model_id,
        first_offset=2,
        keys=[b"good"] * among + [ODD_KEY, b"next"],
        headers=[None] * among + [ODD_HEADERS, None],
        kafka_ms=bad.kafka_ms,
    )

    flow = run(model_dir, start, batch)

    (letter,) = letters_of(flow)
    assert letter.pop("error")
    assert letter.pop("code_version")
    assert letter == {
        "value": bad.value,
        "key": ODD_KEY,
        "headers": [{"name": name, "value": value} for name, value in ODD_HEADERS],
        "topic": TOPIC,
        "partition": 0,
        "offset": place,
        "timestamp": bad.kafka_ms,
        "reason": bad.reason,
        "stage": bad.stage,
    }
    assert offsets(flow) == [offset for offset in range(place + 2) if offset != place]


def test_all_bad_records_in_one_batch_are_told_apart(model_dir: Path, model_id: str) -> None:
    bad = [it for it in BAD if it.kafka_ms == KAFKA_MS]
    values = [value for it in bad for value in (it.value, *good_start()[:1])]

    flow = run(model_dir, raw_batch(good_start(), model_id), raw_batch(values, model_id, first_offset=2))

    assert {(letter["offset"], letter["reason"], letter["value"]) for letter in letters_of(flow)} == {
        (2 + 2 * at, it.reason, it.value) for at, it in enumerate(bad)
    }


@pytest.mark.parametrize("among", [1, PADDING])
@pytest.mark.parametrize(("case", "values", "expected"), ODD, ids=[case for case, _, _ in ODD])
def test_an_odd_record_is_scored(
    case: str, values: dict[str, Any], expected: dict[str, Any], among: int, model_dir: Path, model_id: str
) -> None:
    odd = an_event(event_id=case, session_id="odd", **values)

    flow = run(
        model_dir, raw_batch(good_start(), model_id), raw_batch([*good(among), framed(odd)], model_id, first_offset=2)
    )

    event = scored(flow)[-1]
    assert letters_of(flow) == []
    assert (event["event_id"], event["offset"]) == (case, 2 + among)
    assert {name: event[name] for name in expected} == expected


@pytest.mark.parametrize("among", [1, PADDING])
@pytest.mark.parametrize(("case", "value", "expected"), FROM_THE_END, ids=[case for case, _, _ in FROM_THE_END])
def test_an_index_that_counts_from_the_end_is_read_as_fastavro_does(
    case: str, value: bytes, expected: dict[str, Any], among: int, model_dir: Path, model_id: str
) -> None:
    flow = run(model_dir, raw_batch([*good(among), value], model_id))

    assert value != GOOD, case
    assert {name: scored(flow)[-1][name] for name in expected} == expected
    assert offsets(flow) == list(range(among + 1))


def test_a_duplicate_is_scored_once_in_a_batch_after_it_and_after_a_restart(
    model_dir: Path, model_id: str, tmp_path: Path
) -> None:
    twice = framed(an_event(event_id="twice"))
    batches = [
        raw_batch(values, model_id, first_offset=at)
        for at, values in ((0, good_start()), (2, [twice, twice]), (4, [twice]), (5, [twice, *good(1)]))
    ]
    items: list[Any] = [("0", batch) for batch in batches]
    items.insert(3, TestingSource.EOF())
    flow = ListedFlow(model_dir, items)
    init_db_dir(tmp_path, 1)
    before = duplicates()

    for _ in range(2):
        store = RecoveryConfig(str(tmp_path))
        run_main(flow.dataflow(), epoch_interval=timedelta(0), recovery_config=store)

    assert offsets(flow) == [0, 1, 2, 6]
    assert letters_of(flow) == []
    assert duplicates() - before == 3


def duplicates() -> float:
    return metrics.REGISTRY.get_sample_value("fraud_events_total", {"outcome": "duplicate"}) or 0.0


def test_an_event_after_its_minute_has_closed_is_kept_as_a_letter_and_changes_no_count(
    model_dir: Path, model_id: str
) -> None:
    later = [framed(an_event(session_id=f"later-{n}", timestamp=A_MINUTE_MS + 2 * HOUR_MS)) for n in range(2)]
    late = framed(an_event(event_id="late"))

    flow = run(model_dir, raw_batch([*good_start(), *later], model_id), raw_batch([late], model_id, first_offset=4))

    assert [(letter["value"], letter["reason"], letter["stage"]) for letter in letters_of(flow)] == [
        (late, "too_late", "admit")
    ]
    assert offsets(flow) == [0, 1, 2, 3]
    assert [counts.counts for counts in flow.counted(0)][1:] in ([], [[]])


@pytest.mark.parametrize("kafka_ms", [KAFKA_MS, A_MINUTE_MS])
def test_one_wild_clock_does_not_move_the_watermark(kafka_ms: int, model_dir: Path, model_id: str) -> None:
    wild = framed(an_event(session_id="wild", timestamp=A_MINUTE_MS + 300 * DAY_MS))
    after = framed(an_event(session_id="after", timestamp=A_MINUTE_MS - HOUR_MS))
    batches = [
        raw_batch(values, model_id, first_offset=at, kafka_ms=kafka_ms)
        for at, values in ((0, good_start()), (2, [wild]), (3, [after]))
    ]

    flow = run(model_dir, *batches)

    held = kafka_ms == KAFKA_MS  # as old data, it is admitted and held; live, it is refused
    assert {batch.watermark_ms for batch in flow.admitted(0)} == {A_MINUTE_MS}
    assert [letter["reason"] for letter in letters_of(flow)] == ([] if held else ["future"])
    assert offsets(flow) == ([0, 1, 2, 3] if held else [0, 1, 3])


def test_a_silent_partition_keeps_its_own_time_and_holds_up_no_other(model_dir: Path, model_id: str) -> None:
    busy = [
        raw_batch(
            [
                framed(an_event(event_id=f"{day}-{n}", session_id=f"{day}-{n}", timestamp=A_MINUTE_MS + day * DAY_MS))
                for n in range(2)
            ],
            model_id,
            partition=1,
            first_offset=2 * day,
        )
        for day in range(3)
    ]
    back = raw_batch([framed(an_event(event_id="back", timestamp=A_MINUTE_MS - HOUR_MS))], model_id, first_offset=2)

    flow = run(model_dir, raw_batch(good_start(), model_id), *busy, back)

    assert offsets(flow, 0) == [0, 1, 2]
    assert offsets(flow, 1) == [0, 1, 2, 3, 4, 5]
    assert [batch.watermark_ms for batch in flow.admitted(0)] == [A_MINUTE_MS] * 2
    assert flow.admitted(1)[-1].watermark_ms == A_MINUTE_MS + 2 * DAY_MS


def test_a_session_on_two_partitions_is_noticed_by_its_key(model_dir: Path, model_id: str) -> None:
    records = a_session(["page_view"] * 4, session_id="torn")
    right = raw_batch([framed(record) for record in records[:2]], model_id, keys=[b"torn"] * 2)
    wrong = raw_batch([framed(record) for record in records[2:]], model_id, partition=1, keys=[b"else", None])
    before = key_mismatches()

    flow = run(model_dir, right, wrong)

    assert key_mismatches() - before == 2
    assert (offsets(flow, 0), offsets(flow, 1)) == ([0, 1], [0, 1])


def key_mismatches() -> float:
    return metrics.REGISTRY.get_sample_value("fraud_key_mismatch_total") or 0.0


V2, V3 = 52, 53
NEWER = event_schema(
    lambda fields: fields.update(
        screen={"name": "screen", "type": ["null", "string"], "default": None},
        consent={"name": "consent", "type": ["null", "boolean"], "default": None},
    )
)
NEWEST = event_schema(
    lambda fields: fields.update(tags={"name": "tags", "type": {"type": "map", "values": "string"}, "default": {}})
)


@pytest.mark.parametrize("batches", [1, 3])
def test_writers_of_several_versions_in_turn_make_the_same_sessions_as_one(
    batches: int, model_dir: Path, model_id: str
) -> None:
    records = [record for n in range(30) for record in a_session(["login", "click", "transfer"], session_id=f"s-{n}")]
    newer = [framed_as(it | {"screen": "wide", "consent": True}, V2, NEWER) for it in records]
    newest = [framed_as(it | {"tags": {"a": "b"}}, V3, NEWEST) for it in records]
    old = [framed(it) for it in records]
    mixed = [(old, newer, old, newest)[at % 4][at] for at in range(len(records))]
    writers = {V2: WriterSchema.from_definition(NEWER), V3: WriterSchema.from_definition(NEWEST)}

    flows = [
        run(
            model_dir,
            *(
                raw_batch(values[at : at + 90 // batches], model_id, first_offset=at)
                for at in range(0, 90, 90 // batches)
            ),
            writers=writers,
        )
        for values in (old, mixed)
    ]

    expected, got = (
        [row for batch in flow.decided(0) for row in batch.scored.features.rows.matrix.tolist()] for flow in flows
    )
    assert got == expected
    assert scored(flows[1]) == scored(flows[0])
    assert letters_of(flows[1]) == []
