from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dataflows.connectors.start_offsets import Position
from dataflows.ending import StartError
from infra.server_process import free_port
from model.artifacts import ArtifactError
from model.decision import Level
from schemas.catalogue import local_writers
from tests.dataflows.connectors.a_registry import Registry
from tests.dataflows.connectors.an_events_topic import Topic, batches, offsets, parts_of, sample, values
from tests.dataflows.eventually import eventually

NEW_SCHEMA = b"\x00\x00\x00\x00\x07"


def test_every_record_of_every_partition_comes_once_and_in_order(topic: Topic) -> None:
    written = {partition: values(100 * partition, 40 + partition) for partition in range(3)}
    for partition, some in written.items():
        topic.produce(partition, some)
    topic.produce(2, [None])

    read = batches(parts_of(topic.service(), [None] * 3), 124)

    for partition, some in written.items():
        mine = [batch for batch in read if batch.partition == partition]
        expected = [*some, None] if partition == 2 else some
        numbers = [str(number).encode() for number in range(len(some))]
        assert offsets(mine, partition) == list(range(len(expected)))
        assert [value for batch in mine for value in batch.values] == expected
        assert [key for batch in mine for key in batch.keys][: len(some)] == numbers
        assert [header for batch in mine for header in batch.headers][1] == [("number", b"1")]
        assert all(ms > 1_700_000_000_000 for batch in mine for ms in batch.kafka_ms.tolist())
        assert mine[-1].unread == 0


def test_a_snapshot_is_where_the_next_run_goes_on(topic: Topic) -> None:
    topic.produce(0, values(0, 10))
    [first] = parts_of(topic.service(), [None])
    batches([first], 10)

    stored = first.snapshot()
    topic.produce(0, values(10, 5))
    [second] = parts_of(topic.service(), [stored])
    read = batches([second], 5)

    assert offsets(read, 0) == [10, 11, 12, 13, 14]
    position = Position.from_bytes(second.snapshot())
    assert (position.offset, position.consumed) == (15, 15)


def test_what_was_polled_and_not_handed_on_is_not_in_the_snapshot(topic: Topic) -> None:
    topic.produce(1, values(0, 4))
    parts = parts_of(topic.service(), [None, None])
    eventually(lambda: [*parts[0].next_batch()] or parts[1].has_pending)

    stored = Position.from_bytes(parts[1].snapshot())
    read = batches(parts, 4)

    assert (stored.offset, stored.consumed) == (0, 0)
    assert offsets(read, 1) == [0, 1, 2, 3]


def test_an_empty_store_reads_from_the_beginning_if_the_group_has_read_nothing(topic: Topic) -> None:
    topic.produce(0, values(0, 3))

    read = batches(parts_of(topic.service(), [None]), 3)

    assert offsets(read, 0) == [0, 1, 2]


def test_an_empty_store_of_a_group_that_has_read_is_refused_and_the_way_out_is_named(topic: Topic) -> None:
    topic.produce(0, values(0, 3))
    topic.commit(0, 2)

    with pytest.raises(StartError, match=r"partition 0: group .* has read up to 2, .*START_FROM=beginning"):
        parts_of(topic.service(), [None])


@pytest.mark.parametrize(("policy", "first"), [("beginning", 0), ("committed", 2)])
def test_the_start_policy_decides_where_an_empty_store_begins(policy: str, first: int, topic: Topic) -> None:
    topic.produce(0, values(0, 3))
    topic.commit(0, 2)

    read = batches(parts_of(topic.service(START_FROM=policy), [None]), 3 - first)

    assert offsets(read, 0) == list(range(first, 3))


def test_a_start_policy_that_was_left_set_does_not_touch_what_the_store_knows(topic: Topic) -> None:
    topic.produce(0, values(0, 5))
    [part] = parts_of(topic.service(), [None])
    batches([part], 5)
    topic.produce(0, values(5, 1))

    read = batches(parts_of(topic.service(START_FROM="beginning"), [part.snapshot()]), 1)

    assert offsets(read, 0) == [5]


def test_a_partition_waits_for_its_schema_while_the_others_go_on(topic: Topic) -> None:
    registry = Registry(free_port(), {"/schemas/ids/7": (200, b"{}")})
    service = topic.service(SCHEMA_REGISTRY_URL=registry.url())
    service.writers.known.update(local_writers())
    good = values(0, 3)
    topic.produce(0, [good[0], NEW_SCHEMA + good[1][5:], good[2]])
    topic.produce(1, good)
    parts = parts_of(service, [None, None])

    read = batches(parts, 4)
    topic.produce(1, good)
    read += batches(parts, 3)
    eventually(lambda: parts[0].next_batch() or "registry" in service.readiness.reasons)
    held = Position.from_bytes(parts[0].snapshot())
    wakes_at = parts[0].next_awake() or datetime.min.replace(tzinfo=UTC)

    assert (offsets(read, 0), offsets(read, 1)) == ([0], [0, 1, 2, 3, 4, 5])
    assert (held.offset, held.consumed) == (1, 1)
    assert not service.readiness.is_ready
    assert sample("fraud_partition_held", partition="0") == 1
    assert wakes_at > datetime.now(UTC) + timedelta(milliseconds=20)
    service.writers.known[7] = local_writers()[1]
    topic.produce(0, good[:1])
    assert offsets(batches(parts, 3), 0) == [1, 2, 3]
    assert sample("fraud_partition_held", partition="0") == 0


def test_what_is_no_frame_waits_for_no_schema(topic: Topic) -> None:
    service = topic.service(SCHEMA_REGISTRY_URL=f"http://127.0.0.1:{free_port()}")
    awkward = [b'{"event": "click"}', b"", b"\x00\x00", b"\x01\x00\x00\x00\x07x", None]
    topic.produce(0, awkward)

    read = batches(parts_of(service, [None]), 5)

    assert [value for batch in read for value in batch.values] == [b'{"event": "click"}', *awkward[1:]]
    assert service.writers._asked == {}


def test_every_part_ends_when_the_service_is_to_stop(topic: Topic) -> None:
    topic.produce(0, values(0, 3))
    service = topic.service()
    parts = parts_of(service, [None] * 3)
    batches(parts, 3)

    service.ending.stopping = True

    for part in parts:
        with pytest.raises(StopIteration):
            part.next_batch()


def test_only_what_the_snapshot_before_holds_is_published_to_the_group(topic: Topic) -> None:
    topic.produce(0, values(0, 3))
    service = topic.service()
    [part] = parts_of(service, [None])
    batches([part], 3)
    part.snapshot()
    topic.produce(0, values(3, 2))
    batches([part], 2)
    published = topic.committed(0)

    part.snapshot()
    eventually(lambda: part.next_batch() or topic.committed(0) >= 0)

    assert published < 0
    assert topic.committed(0) == 3


def test_after_a_clean_end_the_final_offsets_are_published(topic: Topic) -> None:
    topic.produce(0, values(0, 3))
    [part] = parts_of(topic.service(), [None])
    batches([part], 3)
    part.snapshot()

    [at_end] = topic.ends
    at_end()

    assert topic.committed(0) == 3


def test_without_a_recovery_store_nothing_is_published(topic: Topic) -> None:
    topic.produce(0, values(0, 3))
    batches(parts_of(topic.service(), [None]), 3)

    [at_end] = topic.ends
    at_end()

    assert topic.committed(0) < 0


def test_a_new_configuration_takes_over_at_a_snapshot_and_not_before(
    topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic.produce(0, values(0, 1))
    service = topic.service()
    [part] = parts_of(service, [None])
    old = service.deployed()
    new = replace(old, levels=(Level("review", 0.5),))
    monkeypatch.setattr(service, "deployed", lambda: new)

    [before] = batches([part], 1)
    stored = part.snapshot()
    topic.produce(0, values(1, 1))
    [after] = batches([part], 1)

    assert (before.configuration, after.configuration) == (old, new)
    assert Position.from_bytes(stored).configuration == new
    [resumed] = batches(parts_of(topic.service(), [stored]), 1)
    assert resumed.configuration == new


def test_a_stored_configuration_whose_model_is_missing_is_refused(topic: Topic) -> None:
    service = topic.service()
    gone = replace(service.deployed(), model_id="0123456789abcdef")

    with pytest.raises(ArtifactError, match="0123456789abcdef"):
        parts_of(service, [Position(0, 0, gone).to_bytes()])
