import json
from pathlib import Path

import numpy as np
import pytest

from model import evaluate, train
from model.artifacts import Artifact, ArtifactShelf
from model.examples import HONEST, Examples
from model.fitting import Plan, fit_and_save
from model.reasons import Reasons
from model.scorer import Scorer
from model.simulated import simulated_examples

SMALL = Plan(events=30_000, max_iter=10)


@pytest.fixture(scope="module")
def examples() -> Examples:
    return simulated_examples(SMALL.seed, SMALL.events)


@pytest.fixture(scope="module")
def artifact(examples: Examples, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return fit_and_save(examples, SMALL, ArtifactShelf(tmp_path_factory.mktemp("models")))


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    result: dict[str, object] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return result


def test_rows_before_the_onset_of_an_attack_are_honest(examples: Examples) -> None:
    hijacked = examples.take(examples.kind == "session_hijack")

    assert set(hijacked.label.tolist()) == {0, 1}
    assert not examples.label[examples.kind == HONEST].any()
    for session in set(hijacked.session.tolist()):
        assert np.all(np.diff(hijacked.label[hijacked.session == session]) >= 0)


def test_same_seed_gives_the_same_model(artifact: Artifact, tmp_path: Path) -> None:
    examples = simulated_examples(SMALL.seed, SMALL.events)

    again = fit_and_save(examples, SMALL, ArtifactShelf(tmp_path))

    assert again.model_id == artifact.model_id
    assert again.manifest.metrics == artifact.manifest.metrics


def test_trained_model_tells_fraud_from_honest_sessions_and_explains_it(examples: Examples, tmp_path: Path) -> None:
    artifact = fit_and_save(examples, SMALL, ArtifactShelf(tmp_path))
    raw = Scorer(artifact).raw(examples.matrix)
    worst = int(np.argmax(raw))

    reasons = Reasons(artifact)

    assert artifact.manifest.metrics["event_auc"] > 0.8
    assert examples.label[worst] == 1
    assert reasons.explain(examples.matrix[worst])
    assert reasons.baseline + sum(reasons.contributions(examples.matrix[worst])) == pytest.approx(raw[worst], rel=1e-9)


def test_manifest_says_how_the_model_was_made(artifact: Artifact) -> None:
    manifest = artifact.manifest

    assert manifest.training["seed"] == SMALL.seed
    assert manifest.training["train_rows"] + manifest.training["calibration_rows"] < SMALL.events
    assert set(manifest.versions) == {"python", "numpy", "scikit-learn", "skops"}


def test_command_trains_and_evaluation_measures_the_current_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf = ArtifactShelf(tmp_path)

    assert train.main(["--events", "15000", "--max-iter", "10", "--out", str(tmp_path)]) == 0
    trained = last_line(capsys)
    assert evaluate.main(["--models", str(tmp_path), "--banks", "2", "--events", "5000"]) == 0
    evaluated = last_line(capsys)

    assert trained["model_id"] == shelf.current() == shelf.load(shelf.current()).model_id
    assert trained["rows"] == 15_000
    assert set(trained) == {"model_id", "seconds", "rows", "average_precision", "auc"}
    assert evaluated["auc"] == pytest.approx(trained["auc"], abs=0.2)
    assert isinstance(evaluated["recall_by_kind"], dict)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--events", "none"], "argument --events: must be a whole number from 1 to 20000000, got 'none'"),
        (["--seed", "-1"], "argument --seed: must be a whole number"),
        (["--trees", "9"], "unrecognized arguments: --trees 9"),
        (["--events", "40"], "needs honest sessions and fraud"),
        (["--out", "/dev/null/x", "--events", "15000", "--max-iter", "1"], "/dev/null/x"),
    ],
)
def test_arguments_that_make_no_training_run_are_refused_in_one_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = train.main(arguments)
    except SystemExit as ended:
        code = int(str(ended.code))

    refused = capsys.readouterr().err
    assert code == 2
    assert says in refused
    assert refused.count("\n") == 1


def test_evaluation_without_a_model_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["--models", str(tmp_path)]) == 2

    refused = capsys.readouterr().err
    assert "current: cannot be read: No such file" in refused
    assert refused.count("\n") == 1
