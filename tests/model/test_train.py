import json
from pathlib import Path

import numpy as np
import pytest

from features.catalogue import CATALOGUE, FROM_STORES
from features.session import FEATURES
from model import evaluate, train
from model.ablation import FAMILIES, without
from model.artifacts import Artifact, ArtifactShelf
from model.examples import HONEST, Parts, split_by_time
from model.fitting import Plan, fit_and_save, knowing_nothing, prepared
from model.reasons import Reasons
from model.scorer import Scorer
from model.simulated import world
from model.simulator import SimulatorConfig
from tests.model.a_behaviour import written
from tests.model.test_metrics import some_examples

SMALL = Plan(max_iter=20, max_leaf_nodes=15)
BANK = SimulatorConfig(customers=250, attack_share=0.1)


@pytest.fixture(scope="module")
def parts() -> Parts:
    return split_by_time(*world(0, SMALL.seed, 30, BANK))


@pytest.fixture(scope="module")
def artifact(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return fit_and_save(parts, SMALL, ArtifactShelf(tmp_path_factory.mktemp("models")))


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    result: dict[str, object] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return result


def test_same_seed_gives_the_same_model(artifact: Artifact, tmp_path: Path) -> None:
    again = fit_and_save(split_by_time(*world(0, SMALL.seed, 30, BANK)), SMALL, ArtifactShelf(tmp_path))

    assert again.model_id == artifact.model_id
    assert again.manifest.metrics == artifact.manifest.metrics


def test_trained_model_tells_fraud_from_honest_sessions_and_explains_it(parts: Parts, artifact: Artifact) -> None:
    raw = Scorer(artifact).raw(parts.test.matrix)
    worst = int(np.argmax(raw))

    reasons = Reasons(artifact)

    assert artifact.manifest.metrics["auc"] > 0.75
    assert parts.test.kind[worst] != HONEST
    assert reasons.explain(parts.test.matrix[worst])
    total = reasons.baseline + sum(reasons.contributions(parts.test.matrix[worst]))
    assert total == pytest.approx(raw[worst], rel=1e-9)


def test_manifest_says_how_the_model_was_made(artifact: Artifact) -> None:
    training = artifact.manifest.training

    assert training["seed"] == SMALL.seed
    assert training["train_rows"] > training["calibration_rows"] > 0
    assert training["gap_hours"] > 1
    assert set(artifact.manifest.versions) == {"python", "numpy", "scikit-learn", "skops"}


def test_some_sessions_are_shown_again_as_if_no_store_had_answered(parts: Parts) -> None:
    rows = prepared(parts.train, 1, 10**9)
    shown_again = rows.take(np.arange(len(parts.train), len(rows)))

    assert 0.05 < len(shown_again) / len(parts.train) < 0.2
    assert shown_again.matrix.tobytes() == knowing_nothing(shown_again.matrix).tobytes()
    for name in FROM_STORES:
        assert (shown_again.matrix[:, FEATURES.index(name)] == CATALOGUE[name].neutral).all()


def test_honest_rows_that_were_left_out_are_counted_by_the_others(parts: Parts) -> None:
    honest = parts.train.kind == HONEST
    few = prepared(parts.train, 1, len(parts.train) // 2)
    own = few.take(few.kind == HONEST)

    assert len(few) < 0.7 * len(parts.train)
    assert own.weight.sum() == pytest.approx(1.1 * honest.sum(), rel=0.1)
    assert (few.kind != HONEST).sum() >= (~honest).sum()


def test_without_a_size_one_is_chosen_by_evidence_and_the_evidence_is_kept(parts: Parts, tmp_path: Path) -> None:
    chosen = fit_and_save(parts, Plan(), ArtifactShelf(tmp_path)).manifest.training

    tried = {(one["trees"], one["leaves"]): one for one in chosen["sizes_tried"]}
    assert (chosen["max_iter"], chosen["max_leaf_nodes"]) in tried
    best = max(one["average_precision"] for one in tried.values())
    assert tried[chosen["max_iter"], chosen["max_leaf_nodes"]]["average_precision"] > best - 0.1


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_people_who_type_a_phrase_are_told_from_imposters_without_a_line_of_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    events, labels = written(tmp_path, suffix)
    arguments = ["--events", str(events), "--labels", str(labels), "--out", str(tmp_path / "models")]

    assert train.main([*arguments, "--max-iter", "60", "--max-leaf-nodes", "8"]) == 0

    trained = last_line(capsys)
    assert trained["auc"] >= 0.92
    assert ArtifactShelf(tmp_path / "models").current() == trained["model_id"]


def test_every_feature_is_in_one_family_and_a_family_left_out_says_nothing(parts: Parts) -> None:
    assert sorted(name for family in FAMILIES.values() for name in family) == sorted(FEATURES)
    changed = without(parts.test, "the user's rhythm")
    differs = np.flatnonzero((changed.matrix != parts.test.matrix).any(axis=0))
    assert {FEATURES[at] for at in differs} <= set(FAMILIES["the user's rhythm"])


def test_command_trains_and_evaluation_measures_the_current_model_and_writes_its_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, small = ArtifactShelf(tmp_path / "models"), ["--customers", "100", "--days", "20"]
    monkeypatch.setattr(evaluate, "CARD", tmp_path / "MODEL_CARD.md")
    monkeypatch.setattr(evaluate, "PLOTS", tmp_path / "card")
    two = {family: FAMILIES[family] for family in ("rhythm", "what stores know")}  # each is a model more to fit
    monkeypatch.setattr("model.ablation.FAMILIES", two)

    size = ["--worlds", "2", "--max-iter", "10", "--max-leaf-nodes", "15"]
    assert train.main([*small, *size, "--out", str(shelf.directory)]) == 0
    trained = last_line(capsys)
    assert evaluate.main([*small, "--models", str(shelf.directory), "--worlds", "1", "--card"]) == 0
    evaluated = last_line(capsys)

    assert trained["model_id"] == shelf.current() == shelf.load(shelf.current()).model_id
    assert set(trained) == {"model_id", "seconds", "rows", "average_precision", "auc"}
    assert list(evaluated) == ["average_precision", "auc", "recall_by_kind", "flagged_before_transfer", "score_us"]
    card = (tmp_path / "MODEL_CARD.md").read_text()
    assert f"Model `{trained['model_id']}`" in card
    assert "| together |" in card
    assert all(f"| {family} |" in card for family in two)
    for line in card.splitlines():
        if line.startswith("!["):
            assert (tmp_path / "card" / line.rpartition("/")[2].rstrip(")")).read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--days", "none"], "argument --days: must be a whole number from 1 to 365, got 'none'"),
        (["--seed", "-1"], "argument --seed: must be a whole number"),
        (["--trees", "9"], "unrecognized arguments: --trees 9"),
        (["--customers", "3", "--days", "2", "--worlds", "1"], "needs honest sessions and fraud"),
        (["--events", "nothing.parquet"], "--events and --labels belong together"),
        (["--events", "nothing.parquet", "--labels", "nothing.csv"], "events nothing.parquet: expected a file"),
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


def test_rare_kinds_of_attack_weigh_more_and_all_of_them_together_as_before() -> None:
    rows = [(0, 0, HONEST, False)] * 50 + [(1, 1, "common", False)] * 36 + [(2, 1, "rare", False)] * 4

    weighed = prepared(some_examples(rows), 1, 10**9)

    of = {kind: weighed.weight[: len(rows)][weighed.kind[: len(rows)] == kind] for kind in (HONEST, "common", "rare")}
    assert of[HONEST].tolist() == [1.0] * 50
    assert of["rare"][0] / of["common"][0] == pytest.approx(3.0)
    assert of["rare"].sum() + of["common"].sum() == pytest.approx(40.0)
