"""State in pieces, as the engine would call it: what each key stores, and what comes of it at the next start."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from dataflows.ending import StartError
from dataflows.partition_pieces import PIECES, PieceDue, PieceLogic, state_in_pieces, with_pieces
from features.snapshot import kind_of, pack, unpack


@dataclass(frozen=True, slots=True)
class Item:
    """A batch that only has a number to add."""

    partition: int
    added: int
    opens_snapshot: int | None = None


@dataclass(slots=True)
class Sums:
    """A state that tells which parts were asked for, and what it was restored from."""

    total: int = 0
    parts: list[tuple[int, int]] = field(default_factory=list)
    restored: list[bytes] = field(default_factory=list)

    def snapshot(self, part: int = 0, of: int = 1) -> bytes:
        """Tell the part and the sum."""
        self.parts.append((part, of))
        return pack("sums", {}, {"part": part, "of": of, "total": self.total})

    def restore(self, *stored: bytes) -> None:
        """Keep what was given."""
        self.restored = list(stored)


class Engine:
    """Calls the logics of one step as the engine does: each key's, and at an epoch's end those of keys with items."""

    def __init__(self, stored: dict[str, bytes]) -> None:
        self.states: list[Sums] = []
        self.stored = stored
        self._build = state_in_pieces(self._step, self._empty)
        self.logics: dict[str, PieceLogic] = {key: self._build(value) for key, value in stored.items()}

    def _empty(self) -> Sums:
        self.states.append(Sums())
        return self.states[-1]

    def _step(self, state: Sums) -> Any:
        def add(item: Item) -> int:
            state.total += item.added
            return state.total

        return add

    def epoch(self, *items: Item) -> list[int]:
        """Run an epoch; return what the step gave."""
        given: list[int] = []
        awake = set()
        for key, item in with_pieces(lambda keyed: keyed)([(str(item.partition), item) for item in items]):
            logic = self.logics.setdefault(key, self._build(None))
            given += logic.on_batch([item])[0]
            awake.add(key)
        self.stored |= {key: self.logics[key].snapshot() for key in sorted(awake)}
        return given

    def end(self) -> None:
        """End the input: every key is asked."""
        for logic in self.logics.values():
            logic.on_eof()
        self.stored |= {key: logic.snapshot() for key, logic in self.logics.items()}


def run(stored: dict[str, bytes], numbers: Sequence[int], partition: int = 3) -> Engine:
    engine = Engine(stored)
    for number in numbers:
        engine.epoch(Item(partition, number, number), Item(partition, 0))
    return engine


def told(engine: Engine, partition: int = 3) -> list[tuple[int, int, int]]:
    """Start once more; return part, of how many, and sum of each snapshot that the state was restored from."""
    again = Engine(dict(engine.stored))
    again.epoch(Item(partition, 0))
    return [(each["part"], each["of"], each["total"]) for each in map(scalars, again.states[-1].restored)]


def scalars(stored: bytes) -> dict[str, Any]:
    return unpack("sums", stored).scalars


def test_the_pieces_of_a_run_come_back_the_oldest_first() -> None:
    engine = run({}, [1, 2, 3])

    assert set(engine.stored) == {"3", "3/1", "3/2", "3/3"}
    assert told(engine) == [(1, PIECES, 1), (2, PIECES, 3), (3, PIECES, 6)]


def test_only_the_last_pieces_are_the_state() -> None:
    count = PIECES + 5
    engine = run({}, range(1, count + 1))

    given = told(engine)

    assert [part for part, _, _ in given] == [number % PIECES for number in range(6, count + 1)]
    assert len(engine.stored) == PIECES + 1


def test_a_start_begins_a_chain_of_its_own() -> None:
    first = run({}, [1, 2, 3])
    second = run(dict(first.stored), [4, 5])

    assert len(second.states[0].restored) == 3
    assert [part for part, _, _ in told(second)] == [4, 5]


def test_at_the_end_of_a_run_the_state_is_whole() -> None:
    engine = run({}, [1, 2, 3])
    engine.end()

    assert [engine.stored[f"3/{number}"] for number in (1, 2, 3)] == [b"", b"", b""]
    assert told(engine) == [(0, 1, 6)]


def test_where_no_piece_is_due_the_state_is_whole() -> None:
    engine = run({}, [1, 2])
    engine.epoch(Item(3, 10))

    assert told(engine) == [(0, 1, 13)]


def test_a_partition_without_a_batch_keeps_what_the_store_has() -> None:
    stored = dict(run({}, [1, 2, 3]).stored)
    quiet = Engine(dict(stored))
    quiet.epoch(Item(4, 1, 1))
    quiet.end()

    assert {key: value for key, value in quiet.stored.items() if key.startswith("3")} == stored


def test_partitions_do_not_share_pieces() -> None:
    engine = Engine({})
    for number in (1, 2):
        engine.epoch(Item(3, number, number), Item(4, 100 * number, number))

    assert [total for _, _, total in told(engine, 3)] == [1, 3]
    assert [total for _, _, total in told(engine, 4)] == [100, 300]


def test_a_missing_piece_is_said_in_one_line_with_what_to_do() -> None:
    stored = dict(run({}, [1, 2, 3]).stored)
    del stored["3/2"]

    with pytest.raises(StartError, match=r"partition 3: its state is in 3 pieces, .* not got 1 of them; .*WHOLE_SNAP"):
        Engine(stored).epoch(Item(3, 0))


def test_state_that_was_stored_before_there_were_pieces_is_taken_over() -> None:
    whole = pack("sums", {}, {"part": 0, "of": 1, "total": 7})

    assert told(Engine({"3": whole})) == [(0, 1, 7)]


def test_a_step_awakes_the_piece_of_each_batch_that_opens_a_snapshot() -> None:
    items = [("3", Item(3, 1, PIECES + 2)), ("4", Item(4, 1))]

    assert with_pieces(list)(items) == [items[0], ("3/2", PieceDue(3, PIECES + 2)), items[1]]


def test_a_piece_emits_nothing() -> None:
    engine = Engine({})

    assert engine.epoch(Item(3, 5, 1)) == [5]
    assert kind_of(engine.stored["3"]) == "pieces"
