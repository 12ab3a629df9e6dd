import hashlib
import json
import os
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

from features.session import FEATURES
from model.artifacts import ArtifactError, ArtifactShelf, Manifest, model_id_of
from model.calibration import Calibration
from tests.model.builders import KNOTS, a_matrix, a_model, a_saved_model


def replace_model(folder: Path, content: bytes) -> None:
    """Put another model file there, with the seal that an attacker who can write both files would give it."""
    (folder / "model.skops").write_bytes(content)
    edit_manifest(folder, seal=hashlib.sha256(content).hexdigest())


def edit_manifest(folder: Path, **changes: Any) -> None:
    stored = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(stored | changes))


def refusal(shelf: ArtifactShelf, model_id: str) -> str:
    with pytest.raises(ArtifactError) as caught:
        shelf.load(model_id)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_loaded_model_scores_as_the_saved_one(tmp_path: Path) -> None:
    shelf, model_id = a_saved_model(tmp_path)

    artifact = shelf.load(model_id)

    matrix = a_matrix(50, seed=9)
    assert np.array_equal(artifact.model.decision_function(matrix), a_model().decision_function(matrix), equal_nan=True)
    assert artifact.model_id == model_id
    assert artifact.manifest.calibration == KNOTS
    assert artifact.manifest.feature_names == FEATURES
    assert artifact.manifest.training == {"seed": 1}


def test_manifest_comes_back_from_its_text(tmp_path: Path) -> None:
    shelf, model_id = a_saved_model(tmp_path)
    manifest = shelf.load(model_id).manifest

    again = Manifest.from_json(manifest.to_json())

    assert again == manifest


def test_same_content_has_the_same_id_though_the_files_differ(tmp_path: Path) -> None:
    _, one = a_saved_model(tmp_path / "one")
    _, two = a_saved_model(tmp_path / "two")

    assert one == two


@pytest.mark.parametrize(
    ("model", "knots", "names"),
    [
        (a_model(2), KNOTS, FEATURES),
        (a_model(1), Calibration(KNOTS.raw, (0.01, 0.4, 0.98)), FEATURES),
        (a_model(1), KNOTS, FEATURES[::-1]),
        (a_model(1, trees=11), KNOTS, FEATURES),
    ],
    ids=["trees", "knots", "feature names", "number of trees"],
)
def test_any_other_content_has_another_id(model: Any, knots: Calibration, names: tuple[str, ...]) -> None:
    assert model_id_of(model, knots, names) != model_id_of(a_model(1), KNOTS, FEATURES)


def test_saving_again_keeps_the_sound_artifact_and_repairs_a_broken_one(tmp_path: Path) -> None:
    shelf, model_id = a_saved_model(tmp_path)
    model_file = tmp_path / model_id / "model.skops"
    sound = model_file.stat().st_ino

    a_saved_model(tmp_path)
    kept = model_file.stat().st_ino
    model_file.write_bytes(b"rubbish")
    a_saved_model(tmp_path)

    assert kept == sound
    assert shelf.load(model_id).model_id == model_id


def test_current_is_the_model_that_was_set_last(tmp_path: Path) -> None:
    shelf, one = a_saved_model(tmp_path, seed=1)
    _, two = a_saved_model(tmp_path, seed=2)

    shelf.set_current(one)
    shelf.set_current(two)

    assert shelf.current() == two
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([one, two, "current", "history"])


def test_model_that_cannot_be_loaded_does_not_become_current(tmp_path: Path) -> None:
    shelf, model_id = a_saved_model(tmp_path)
    shelf.set_current(model_id)

    with pytest.raises(ArtifactError):
        shelf.set_current("0" * 16)

    assert shelf.current() == model_id


@pytest.mark.parametrize("content", ["", "../../etc", "0123456789abcdeg", "x" * 5000])
def test_current_that_names_no_model_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "current").write_text(content)

    with pytest.raises(ArtifactError, match="16 hexadecimal digits"):
        ArtifactShelf(tmp_path).current()


def test_missing_shelf_and_model_are_refused_by_name(tmp_path: Path) -> None:
    shelf = ArtifactShelf(tmp_path / "nowhere")

    with pytest.raises(ArtifactError, match=r"current: cannot be read: No such file"):
        shelf.current()
    assert "manifest.json: cannot be read: No such file" in refusal(shelf, "0" * 16)


def test_missing_model_file_is_refused(tmp_path: Path) -> None:
    shelf, model_id = a_saved_model(tmp_path)
    (tmp_path / model_id / "model.skops").unlink()

    assert "model.skops: cannot be read: No such file" in refusal(shelf, model_id)


def test_one_changed_byte_breaks_the_seal(tmp_path: Path) -> None:
    shelf, model_id = a_saved_model(tmp_path)
    model_file = tmp_path / model_id / "model.skops"
    content = bytearray(model_file.read_bytes())
    content[len(content) // 2] ^= 1
    model_file.write_bytes(content)

    assert "seal must be" in refusal(shelf, model_id)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"calibration": 3}', "\x00\xff"])
def test_unreadable_manifest_is_refused(tmp_path: Path, text: str) -> None:
    shelf, model_id = a_saved_model(tmp_path)
    (tmp_path / model_id / "manifest.json").write_text(text)

    assert "cannot be read as a manifest" in refusal(shelf, model_id)


def test_model_of_other_features_is_refused(tmp_path: Path) -> None:
    _, model_id = a_saved_model(tmp_path)
    renamed = ArtifactShelf(tmp_path, feature_names=("session_heartbeats", *FEATURES[1:]))

    assert "feature 0 must be session_heartbeats, got session_events" in refusal(renamed, model_id)


def test_model_of_features_with_another_meaning_is_refused(tmp_path: Path) -> None:
    _, model_id = a_saved_model(tmp_path)

    assert "feature set must be newer" in refusal(ArtifactShelf(tmp_path, feature_set_id="newer"), model_id)


def test_sealed_model_with_other_content_is_refused(tmp_path: Path) -> None:
    shelf, model_id = a_saved_model(tmp_path)
    replace_model(tmp_path / model_id, skops.io.dumps(a_model(2)))

    assert f"model id must be {model_id}" in refusal(shelf, model_id)


def test_moved_knots_are_refused(tmp_path: Path) -> None:
    shelf, model_id = a_saved_model(tmp_path)
    edit_manifest(tmp_path / model_id, calibration={"raw": [-4.0, 3.0], "score": [0.1, 0.2]})

    assert f"model id must be {model_id}" in refusal(shelf, model_id)


def test_pickle_never_runs_though_it_is_sealed(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
            return os.mkdir, (str(tmp_path / "executed"),)

    shelf, model_id = a_saved_model(tmp_path)
    replace_model(tmp_path / model_id, pickle.dumps(Bomb()))

    assert "cannot be read as a skops model" in refusal(shelf, model_id)
    assert not (tmp_path / "executed").exists()


def test_skops_file_with_an_unsafe_type_is_refused(tmp_path: Path) -> None:
    shelf, model_id = a_saved_model(tmp_path)
    replace_model(tmp_path / model_id, skops.io.dumps(Counter({"a": 1})))

    assert "UntrustedTypesFoundException" in refusal(shelf, model_id)


def test_skops_file_with_another_estimator_is_refused(tmp_path: Path) -> None:
    shelf, model_id = a_saved_model(tmp_path)
    replace_model(tmp_path / model_id, skops.io.dumps(LogisticRegression()))

    assert "must be a fitted HistGradientBoostingClassifier" in refusal(shelf, model_id)


_OUTSIDE = len(FEATURES)


@pytest.mark.parametrize(("field", "value"), [("left", 9_999), ("right", 0), ("feature_idx", _OUTSIDE), ("count", 0)])
def test_tree_that_points_outside_is_refused_before_it_is_followed(tmp_path: Path, field: str, value: int) -> None:
    shelf, model_id = a_saved_model(tmp_path)
    broken = skops.io.loads((tmp_path / model_id / "model.skops").read_bytes(), trusted=TRUSTED)
    broken._predictors[3][0].nodes[field][0] = value
    replace_model(tmp_path / model_id, skops.io.dumps(broken))

    assert "tree 3 must have" in refusal(shelf, model_id)


TRUSTED = ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]
