from pathlib import Path
from types import SimpleNamespace

import pytest

from dataflows.models import Models
from model.artifacts import ArtifactError
from observability import metrics
from tests.model.builders import a_matrix, a_saved_model


def failures() -> float:
    return metrics.REGISTRY.get_sample_value("fraud_model_load_failures_total") or 0.0


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time as the models see it: `now.at` moves it."""
    clock = SimpleNamespace(at=1_000.0)
    monkeypatch.setattr("dataflows.models.time", SimpleNamespace(monotonic=lambda: clock.at))
    return clock


def test_the_current_model_is_deployed_and_shown(tmp_path: Path) -> None:
    shelf, model_id = a_saved_model(tmp_path)
    shelf.set_current(model_id)

    assert Models(shelf).deployed() == model_id
    assert metrics.REGISTRY.get_sample_value("fraud_model_info", {"model_id": model_id}) == 1


def test_a_newly_deployed_model_takes_over_and_the_old_one_can_still_be_opened(tmp_path: Path) -> None:
    shelf, first = a_saved_model(tmp_path, seed=1)
    _, second = a_saved_model(tmp_path, seed=2)
    models = Models(shelf)
    shelf.set_current(first)
    models.deployed()

    shelf.set_current(second)

    assert models.deployed() == second
    matrix = a_matrix(20)
    assert models.open(first).scorer.raw(matrix).tolist() != models.open(second).scorer.raw(matrix).tolist()


def test_a_model_is_read_once(tmp_path: Path) -> None:
    shelf, model_id = a_saved_model(tmp_path)
    models = Models(shelf)
    opened = models.open(model_id)

    (tmp_path / model_id / "model.skops").unlink()

    assert models.open(model_id) is opened


def test_without_a_usable_model_there_is_no_start(tmp_path: Path) -> None:
    shelf, model_id = a_saved_model(tmp_path)

    with pytest.raises(ArtifactError, match="current: cannot be read"):
        Models(shelf).deployed()
    with pytest.raises(ArtifactError, match="cannot be read"):
        Models(shelf).open(model_id[::-1])


def test_a_bad_new_model_is_refused_and_counted_once_while_the_old_one_stays(
    tmp_path: Path, now: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    shelf, good = a_saved_model(tmp_path, seed=1)
    _, bad = a_saved_model(tmp_path, seed=2)
    shelf.set_current(good)
    models = Models(shelf)
    models.deployed()
    before = failures()
    shelf.set_current(bad)
    (tmp_path / bad / "model.skops").write_bytes(b"half a model")

    chosen = [models.deployed() for _ in range(100)]

    assert set(chosen) == {good}
    assert failures() - before == 1
    assert f"the deployed model is refused, {good} stays" in caplog.text
    now.at += 30
    assert models.deployed() == good
    assert failures() - before == 2


def test_a_refused_model_that_was_mended_takes_over(tmp_path: Path, now: SimpleNamespace) -> None:
    shelf, good = a_saved_model(tmp_path, seed=1)
    _, mended = a_saved_model(tmp_path, seed=2)
    file = tmp_path / mended / "model.skops"
    content = file.read_bytes()
    shelf.set_current(good)
    models = Models(shelf)
    models.deployed()
    shelf.set_current(mended)
    file.write_bytes(b"half a model")
    models.deployed()

    file.write_bytes(content)
    now.at += 30

    assert models.deployed() == mended
