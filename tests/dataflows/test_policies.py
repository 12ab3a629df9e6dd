"""The policy file while the service runs: adopted when it changes, refused when it is bad."""

import json
import os
from pathlib import Path

import pytest

from dataflows.policies import Policies
from model.artifacts import ArtifactShelf
from model.decision import Level
from model.policy import FILE, PolicyError
from observability import metrics
from tests.model.builders import KNOTS, a_model

DEFAULT = (Level("review", 0.8), Level("block", 0.95))
TAIL = {"tail": {"share": [0.001, 0.1], "score": [0.9, 0.2]}}


@pytest.fixture
def shelf(tmp_path: Path) -> ArtifactShelf:
    models = ArtifactShelf(tmp_path)
    models.set_current(models.save(a_model(), KNOTS, {}, TAIL))
    return models


def write(folder: Path, review: float, at: int) -> None:
    """Write a policy, and let it have been changed at this moment."""
    levels = {"review": {"score": review}, "block": {"score": 0.97}}
    (folder / FILE).write_text(json.dumps({"levels": levels}))
    os.utime(folder / FILE, (at, at))


def failures() -> float:
    return metrics.REGISTRY.get_sample_value("fraud_policy_failures_total") or 0.0


def test_without_a_file_the_settings_levels_hold_and_with_one_its_own(shelf: ArtifactShelf, tmp_path: Path) -> None:
    policies, artifact = Policies(tmp_path, DEFAULT), shelf.load(shelf.current())

    before = policies.levels(artifact)
    write(tmp_path, 0.7, 1)
    during = policies.levels(artifact)
    (tmp_path / FILE).unlink()

    assert before == policies.levels(artifact) == DEFAULT
    assert [level.threshold for level in during] == [0.7, 0.97]


def test_a_changed_file_is_adopted_and_a_bad_one_leaves_the_levels_and_is_counted_once(
    shelf: ArtifactShelf, tmp_path: Path
) -> None:
    policies, artifact, before = Policies(tmp_path, DEFAULT), shelf.load(shelf.current()), failures()
    write(tmp_path, 0.7, 1)
    policies.levels(artifact)

    write(tmp_path, 0.6, 2)
    changed = policies.levels(artifact)
    write(tmp_path, 0.99, 3)
    after = [policies.levels(artifact) for _ in range(3)]

    assert changed[0].threshold == 0.6
    assert after == [changed] * 3
    assert failures() - before == 1


def test_a_bad_file_at_the_start_is_an_error_that_names_it(shelf: ArtifactShelf, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{}")

    with pytest.raises(PolicyError, match=r"policy\.json: policy: expected levels"):
        Policies(tmp_path, DEFAULT).levels(shelf.load(shelf.current()))
