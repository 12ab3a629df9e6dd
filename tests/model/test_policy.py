"""Levels as scores or as alerts a day, and how they are written down."""

import json
from pathlib import Path

import pytest

from model import policy
from model.artifacts import ArtifactShelf
from model.policy import FILE, Policy, PolicyError
from tests.model.builders import KNOTS, a_model

TAIL = {"tail": {"share": [0.001, 0.01, 0.1], "score": [0.9, 0.6, 0.2]}}


def text(**levels: dict[str, float]) -> str:
    return json.dumps({"levels": levels, "sessions_a_day": 10_000})


def test_a_score_is_a_score_and_a_budget_is_the_score_that_so_many_sessions_exceed() -> None:
    read = Policy.from_json(text(review={"alerts_a_day": 100}, block={"score": 0.95}))

    assert [(level.name, level.threshold) for level in read.levels(TAIL)] == [("review", 0.6), ("block", 0.95)]
    assert Policy.from_json(read.to_json()) == read


def test_between_known_shares_the_score_is_a_straight_line_and_beyond_them_the_last() -> None:
    read = Policy.from_json(text(review={"alerts_a_day": 550}, block={"alerts_a_day": 1}))

    review, block = read.levels(TAIL)

    assert review.threshold == pytest.approx(0.4)
    assert block.threshold == 0.9


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        ("no json", "expected levels"),
        ("[]", "expected levels"),
        (text(review={"score": 0.8}), "expected the levels review, block, got review"),
        (text(review={"score": 0.8}, block={"share": 1}), "expected levels"),
        ('{"levels": {"review": {"alerts_a_day": 9}, "block": {"score": 0.9}}}', "alerts a day need sessions_a_day"),
    ],
)
def test_what_is_no_policy_is_refused(stored: str, says: str) -> None:
    with pytest.raises(PolicyError, match="policy: ") as refused:
        Policy.from_json(stored)

    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("review", "block"),
    [({"score": 0.9}, {"score": 0.9}), ({"score": 0.0}, {"score": 0.5}), ({"score": 0.5}, {"score": 1.0})],
)
def test_levels_that_do_not_rise_within_0_to_1_are_refused(review: dict[str, float], block: dict[str, float]) -> None:
    with pytest.raises(PolicyError, match="levels must rise within 0 to 1"):
        Policy.from_json(text(review=review, block=block)).levels({})


def test_a_budget_needs_a_model_that_knows_its_tail() -> None:
    with pytest.raises(PolicyError, match="train one"):
        Policy.from_json(text(review={"alerts_a_day": 9}, block={"score": 0.9})).levels({})


def test_the_command_writes_and_shows_what_a_policy_comes_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf = ArtifactShelf(tmp_path)
    shelf.set_current(shelf.save(a_model(), KNOTS, {}, TAIL))
    models = ["--models", str(tmp_path)]

    assert policy.main([*models, "set", "review=100/day", "block=0.97", "--sessions-a-day", "10000"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert policy.main([*models, "show"]) == 0

    assert written == {"model_id": shelf.current(), "review": 0.6, "block": 0.97} == json.loads(capsys.readouterr().out)
    assert (tmp_path / FILE).exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["set", "review=high", "block=0.9"], "expected NAME=SCORE or NAME=ALERTS/day, got 'review=high'"),
        (["set", "review=5/day", "block=0.9"], "alerts a day need sessions_a_day"),
        (["set", "review=0.95", "block=0.9"], "levels must rise"),
        (["show"], "No such file"),
    ],
)
def test_a_policy_that_is_none_is_refused_in_one_line_and_not_written(
    tmp_path: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf = ArtifactShelf(tmp_path)
    shelf.set_current(shelf.save(a_model(), KNOTS, {}, TAIL))

    assert policy.main(["--models", str(tmp_path), *arguments]) == 2

    refused = capsys.readouterr().err
    assert says in refused
    assert refused.count("\n") == 1
    assert not (tmp_path / FILE).exists()
