from collections import Counter
from pathlib import Path

import pytest

from schemas.catalogue import EVENT, read
from tests.bench import work as bench_work
from tests.bench.decoding import record_of
from tests.bench.plain_sessions import COMPUTED, PlainSessions
from tests.bench.work import KEY, PAGES, START_MS, Work, index_of, is_probe, made, make
from tests.crash.plain_events import refuse_bad_values
from tests.reference import ReferenceAdmission, ReferencePageWindows, ReferenceRow, ReferenceSessions

SMALL = Work(events=6_000, live=150, probes=0.01)


def test_the_same_work_is_the_same_bytes_and_another_seed_gives_others() -> None:
    assert make(SMALL).data == make(SMALL).data
    assert make(SMALL).data != make(Work(events=6_000, live=150, probes=0.01, seed=8)).data


def test_every_value_is_a_valid_event_and_says_its_key_and_place() -> None:
    for at, value in enumerate(make(SMALL)):
        record = read(EVENT, value)
        refuse_bad_values(record, kafka_ms=START_MS + 10_000)

        assert record == record_of(value)
        assert value[KEY].decode() == record["session_id"]
        assert index_of(record["event_id"]) == at
        assert record["page"] in PAGES


def test_no_event_is_late_or_there_twice_and_few_are_out_of_order() -> None:
    admission, latest, behind = ReferenceAdmission(), 0, 0
    for value in make(SMALL):
        record = record_of(value)
        assert admission.judge(ReferenceRow.from_record(record)) == "admitted"
        behind += record["timestamp"] < latest
        latest = max(latest, record["timestamp"])

    assert 0.01 < behind / SMALL.events < 0.1


def test_the_plain_features_are_those_of_the_reference_and_pages_are_counted_as_they_are() -> None:
    plain, reference, windows = PlainSessions(), ReferenceSessions(), ReferencePageWindows()
    for value in make(SMALL):
        record = record_of(value)
        row = ReferenceRow.from_record(record)

        assert plain.update(record)[1][:COMPUTED] == reference.update(row)[:COMPUTED]
        assert windows.update(row) == (record["page"], record["timestamp"] // 60_000 * 60_000)


def test_a_session_that_was_quiet_for_more_than_half_an_hour_begins_anew() -> None:
    plain = PlainSessions()
    record = record_of(next(iter(make(SMALL))))
    plain.update(record)

    _, at_gap = plain.update({**record, "timestamp": record["timestamp"] + 1_800_000})
    _, beyond = plain.update({**record, "timestamp": record["timestamp"] + 3_600_001})

    assert (at_gap[0], beyond[0]) == (2, 1)


def test_sessions_have_some_thirty_events_and_one_in_fifty_is_a_machine() -> None:
    events = make(Work(events=60_000, live=200))
    sessions = {value[KEY] for value in events}
    machines = {value[KEY] for value, is_machine in zip(events, events.machines, strict=True) if is_machine}

    assert 25 < len(events) / len(sessions) < 35
    assert 0.01 < len(machines) / len(sessions) < 0.03


def test_filling_opens_every_session_with_the_first_events() -> None:
    events = make(Work(events=3_000, live=1_000, fill=True, probes=0.2))

    assert len({events[at][KEY] for at in range(1_000)}) == 1_000
    assert not any(is_probe(events[at]) for at in range(1_000))


def test_a_probe_is_a_session_of_one_event() -> None:
    sessions = Counter(value[KEY] for value in make(SMALL))
    probes = [value[KEY] for value in make(SMALL) if is_probe(value)]

    assert 30 < len(probes) < 90
    assert all(sessions[probe] == 1 for probe in probes)


def test_a_hot_session_has_half_of_all_events() -> None:
    (_, most), *_ = Counter(value[KEY] for value in make(Work(events=4_000, live=100, hot=0.5))).most_common(1)

    assert 1_850 < most < 2_200


def test_work_is_read_from_its_file_as_it_was_made(tmp_path: Path) -> None:
    file = made(SMALL, tmp_path)
    written = file.stat().st_mtime_ns

    assert list(bench_work.read(file)) == list(make(SMALL))
    assert made(SMALL, tmp_path).stat().st_mtime_ns == written


@pytest.mark.parametrize("number", [0, 1, 63, 64, 127, 128, 300, 16_383, 2**40])
def test_whole_numbers_are_written_as_avro_does(number: int) -> None:
    encoded = bench_work._whole(number)

    value = 0
    for place, byte in enumerate(encoded):
        value |= (byte & 127) << (7 * place)
    assert value == 2 * number
    assert all(byte > 127 for byte in encoded[:-1])
