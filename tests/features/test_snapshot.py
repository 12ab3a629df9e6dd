import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.session_table import Carried, SessionTable
from features.snapshot import SnapshotError, pack, unpack

WHOLE = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(WHOLE), st.integers(0, 2**63 - 1))
def test_whole_numbers_come_back_as_they_were(values: list[int], code: int) -> None:
    columns = {
        "signed": np.array(values, dtype=np.int64),
        "unsigned": np.array([code, 2**64 - 1], dtype=np.uint64),
        "flag": np.array([True, False]),
        "share": np.array([0.1, -0.0]),
    }

    found = unpack("test", pack("test", columns)).columns

    for name, column in columns.items():
        assert found[name].dtype == column.dtype
        assert found[name].tobytes() == column.tobytes()


@given(base=st.integers(-(2**62), 2**62), above=st.lists(st.integers(0, 2**33), min_size=1))
def test_neighbours_come_back_wherever_they_lie(base: int, above: list[int]) -> None:
    column = np.array([base + step for step in above], dtype=np.int64)

    assert unpack("test", pack("test", {"near": column})).columns["near"].tolist() == column.tolist()


@pytest.mark.parametrize(
    ("largest", "width"), [(255, 1), (256, 2), (65_535, 2), (65_536, 4), (2**32 - 1, 4), (2**32, 8)]
)
def test_a_value_takes_as_many_bytes_as_the_column_spans(largest: int, width: int) -> None:
    def size(rows: int) -> int:
        column = np.full(rows, 1_750_000_000_000, dtype=np.int64)
        column[-1] += largest
        return len(pack("test", {"near": column}))

    assert (size(9_000) - size(1_000)) / 8_000 == pytest.approx(width, abs=0.01)


def test_what_is_read_may_be_written_to() -> None:
    found = unpack("test", pack("test", {"one": np.array([7], dtype=np.int64)})).columns["one"]

    found[0] = -1

    assert found.tolist() == [-1]


@pytest.mark.parametrize("cut", [0, 3, 20, -1])
def test_what_is_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(SnapshotError):
        unpack("test", pack("test", {"one": np.arange(9)})[:cut])


def test_sets_are_stored_without_their_empty_places_and_come_back_in_order() -> None:
    table, again = SessionTable(), SessionTable()
    pages = Carried("<u4", width=16)
    for one in (table, again):
        one.column("pages", pages)
    slots = table.slots_of([f"s-{number}" for number in range(1_000)])
    for number, slot in enumerate(slots.tolist()):
        table.columns["pages"][slot, : number % 4] = [9, 7, 8][: number % 4]

    stored = table.snapshot()
    lacking = again.restore(stored)

    assert lacking.tolist() == []
    assert len(stored) < 1_000 * (4 + 1 + 4 * 2 + 8)
    found = again.columns["pages"][again.slots_of(["s-0", "s-1", "s-3"])]
    assert found[:, :4].tolist() == [[0, 0, 0, 0], [9, 0, 0, 0], [9, 7, 8, 0]]


def test_sets_that_are_larger_than_today_are_missing() -> None:
    table, again = SessionTable(), SessionTable()
    table.column("pages", Carried("<u4", width=4))
    again.column("pages", Carried("<u4", width=2))
    [slot] = table.slots_of(["s-1"]).tolist()
    table.columns["pages"][slot] = [1, 2, 3, 4]

    assert again.restore(table.snapshot()).tolist() == [slot]
