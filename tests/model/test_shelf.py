"""Models that were ever live stay, and the one before is one command away."""

import json
from pathlib import Path

import pytest

from model import shelf
from model.artifacts import ArtifactError, ArtifactShelf
from tests.model.builders import a_saved_model


def three_models(folder: Path) -> tuple[ArtifactShelf, list[str]]:
    ids = [a_saved_model(folder, seed)[1] for seed in (1, 2, 3)]
    models = ArtifactShelf(folder)
    for model_id in ids:
        models.set_current(model_id)
    return models, ids


def test_the_model_before_comes_back_and_then_the_one_before_that(tmp_path: Path) -> None:
    models, ids = three_models(tmp_path)

    assert [models.roll_back(), models.current()] == [ids[1], ids[1]]
    assert [models.roll_back(), models.current()] == [ids[0], ids[0]]
    with pytest.raises(ArtifactError, match="no model was current before"):
        models.roll_back()
    assert models.current() == ids[0]
    assert models.models() == sorted(ids)


def test_setting_the_current_model_again_adds_nothing_to_the_history(tmp_path: Path) -> None:
    models, ids = three_models(tmp_path)

    models.set_current(ids[2])

    assert models.history() == ids


def test_a_model_that_cannot_be_loaded_is_not_gone_back_to(tmp_path: Path) -> None:
    models, ids = three_models(tmp_path)
    (tmp_path / ids[1] / "model.skops").write_bytes(b"changed")

    with pytest.raises(ArtifactError, match="seal"):
        models.roll_back()
    assert models.current() == models.history()[-1] == ids[2]


def test_the_command_lists_uses_and_rolls_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models, ids = three_models(tmp_path)
    (tmp_path / ids[0] / "manifest.json").write_text("{}")

    assert shelf.main(["--models", str(tmp_path), "list"]) == 0
    listed = {told["model_id"]: told for told in map(json.loads, capsys.readouterr().out.splitlines())}
    assert shelf.main(["--models", str(tmp_path), "rollback"]) == 0
    assert models.current() == ids[1]
    assert shelf.main(["--models", str(tmp_path), "use", ids[2]]) == 0

    assert models.current() == ids[2]
    assert listed[ids[2]]["current"] is True
    assert listed[ids[1]]["auc"] == 0.9
    assert "manifest" in listed[ids[0]]["unusable"]


@pytest.mark.parametrize(
    ("arguments", "says"), [(["rollback"], "no model was current"), (["use", "x"], "must be 16 hexadecimal digits")]
)
def test_what_cannot_be_done_is_said_in_one_line(
    tmp_path: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shelf.main(["--models", str(tmp_path), *arguments]) == 2

    refused = capsys.readouterr().err
    assert says in refused
    assert refused.count("\n") == 1
