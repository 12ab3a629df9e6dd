"""The loop that measures from a poll to its flags."""

from pathlib import Path

import pytest

from model.artifacts import ArtifactShelf
from tests.bench import inside
from tests.bench.inside import PARTITIONS, Loop, measure, polls_of
from tests.bench.work import KEY, Work, make
from tests.crash.flagging_model import save_flagging_model


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    return save_flagging_model(folder)


def test_every_event_of_the_work_is_in_one_poll_under_its_sessions_key(models: Path) -> None:
    events = make(Work(64, live=8))

    polls = polls_of(events, 16, 4, ArtifactShelf(models).current())

    batches = [batch for poll in polls for _, batch in poll]
    assert sorted(value for batch in batches for value in batch.values) == sorted(events)
    assert all(key == value[KEY] for batch in batches for key, value in zip(batch.keys, batch.values, strict=True))
    for partition in range(PARTITIONS):
        offsets = [int(offset) for batch in batches if batch.partition == partition for offset in batch.offsets]
        assert offsets == list(range(len(offsets)))


def test_a_poll_is_handed_on_only_when_the_one_before_has_its_flags() -> None:
    turns: list[int] = []
    loop = Loop([[("0", None)], [("0", None)]], lambda _: iter([]), turns.append)  # type: ignore[list-item,arg-type]

    first = loop.next()
    meanwhile = loop.next()
    loop.take(None)  # type: ignore[arg-type]
    second = loop.next()

    assert (len(first), meanwhile, len(second)) == (1, [], 1)
    assert turns == [0, 1]
    assert len(loop.delays_ms) == 1


def test_both_sides_must_raise_as_many_flags(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = measure(models, 16, 40, live=4)
    assert figures["flags"] > 0
    assert figures["ratio_to_plain_loop"] > 0

    monkeypatch.setattr(inside.FlagMessages, "__call__", lambda *_: iter([]))
    with pytest.raises(inside.WrongResultError, match=r"expected [0-9]+ flags, got 0"):
        measure(models, 16, 40, live=4)
