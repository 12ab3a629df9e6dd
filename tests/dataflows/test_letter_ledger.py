import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.letter_ledger import MAX_METADATA_BYTES, Ledger, LedgerError

offsets = st.integers(0, 2_000)


@given(st.integers(0, 500), st.lists(st.sets(offsets)), offsets)
def test_what_was_committed_is_what_comes_back(start: int, runs: list[set[int]], oldest: int) -> None:
    ledger = Ledger(start)
    for settled in runs:
        ledger.settle(settled)
    everything = set().union(*runs)

    read = Ledger.from_committed(ledger.next_offset, ledger.metadata(), oldest)

    for offset in range(2_001):
        assert ledger.is_settled(offset) == (offset < start or offset in everything)
        assert read.is_settled(offset) == (ledger.is_settled(offset) or offset < oldest)


def test_the_offset_is_that_of_the_first_open_letter() -> None:
    ledger = Ledger(5)

    ledger.settle([7, 5, 9])

    assert ledger.next_offset == 6
    ledger.settle([6, 8])
    assert (ledger.next_offset, ledger.metadata()) == (10, "")


def test_a_group_without_a_ledger_begins_at_the_oldest_letter() -> None:
    assert Ledger.from_committed(-1001, "", 17).next_offset == 17


@pytest.mark.parametrize("text", ["somebody else's", "2:abc", "1:not packed", "1:\x00"])
def test_a_text_that_is_none_of_ours_is_refused(text: str) -> None:
    with pytest.raises(LedgerError, match="no ledger of this version"):
        Ledger.from_committed(3, text, 0)


def test_a_ledger_holds_twenty_thousand_letters_in_any_order_and_says_when_it_is_full() -> None:
    dice = random.Random(3)
    ledger = Ledger(0)
    ledger.settle(offset for offset in range(1, 20_000) if dice.random() < 0.5)

    assert len(ledger.metadata()) <= MAX_METADATA_BYTES

    ledger.settle(offset for offset in range(20_000, 60_000) if dice.random() < 0.5)
    with pytest.raises(LedgerError, match="--skip-others"):
        ledger.metadata()
