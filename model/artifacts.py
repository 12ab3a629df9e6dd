"""Trained models on disk: each under the name of its content, sealed, and loaded without running anything.

A file that is not exactly the one that was saved is refused before it is parsed. No pickle is ever read.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from platform import python_version
from typing import Any, Self

import numpy as np
import skops.io

from features.session import FEATURE_SET_ID, FEATURES
from model.calibration import Calibration, CalibrationError
from model.trees import TreeError, baseline_of, content_of, trees_of

TRUSTED_TYPES = ("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",)
"""What a model file may hold beside the estimators and arrays that skops knows to be harmless."""

_MODEL = "model.skops"
_MANIFEST = "manifest.json"
_CURRENT, _HISTORY = "current", "history"
_ID = re.compile(r"[0-9a-f]{16}")


class ArtifactError(Exception):
    """An artifact is missing, damaged, foreign or made for other features; the text says which."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of a model beside its trees.

    Attributes:
        model_id: Name of the content, see `model_id_of`.
        seal: SHA-256 of the model file, hexadecimal.
        feature_names: The columns of the matrix, in order.
        feature_set_id: What the numbers in them mean, `features.session.FEATURE_SET_ID`.
        calibration: From log-odds to score.
        expected_raw: Background of the reasons: the mean log-odds of the training rows under the trees.
        versions: Of Python and the libraries that trained it.
        training: The parameters of the training run.
        metrics: Measured on sessions that neither training nor calibration saw.
    """

    model_id: str
    seal: str
    feature_names: tuple[str, ...]
    feature_set_id: str
    calibration: Calibration
    expected_raw: float
    versions: Mapping[str, str]
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Read what `to_json` wrote; KeyError, TypeError or ValueError if it is something else."""
        stored = json.loads(text)
        calibration = Calibration.from_json(stored.pop("calibration"))
        names = tuple(map(str, stored.pop("feature_names")))
        return cls(feature_names=names, calibration=calibration, **stored)

    def to_json(self) -> bytes:
        """Return the manifest as the text of its file."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        fields["calibration"] = self.calibration.to_json()
        return json.dumps(fields, indent=2).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model that passed every check, and its manifest."""

    model: Any
    """The fitted scikit-learn classifier."""
    manifest: Manifest

    @property
    def model_id(self) -> str:
        """Name of the content."""
        return self.manifest.model_id


class ArtifactShelf:
    """The directory with all models, one folder each, and the file that names the current one.

    Args:
        directory: Made when the first model is saved.
        feature_names: What a model must have been trained on.
        feature_set_id: What these features must have meant.
    """

    def __init__(
        self,
        directory: Path,
        feature_names: tuple[str, ...] = FEATURES,
        feature_set_id: str = FEATURE_SET_ID,
    ) -> None:
        self.directory = directory
        self.feature_names = feature_names
        self.feature_set_id = feature_set_id

    def save(
        self,
        model: Any,
        calibration: Calibration,
        training: Mapping[str, Any],
        metrics: Mapping[str, Any],
    ) -> str:
        """Write an artifact; it is there completely or not at all. One that is there and sound is kept.

        Args:
            model: Fitted binary `HistGradientBoostingClassifier`.
            calibration: Its knots.
            training: Parameters, fit for JSON.
            metrics: Figures, fit for JSON.

        Returns:
            The model id.

        Raises:
            TreeError: If the model is something else.
        """
        content = skops.io.dumps(model)
        model_id = model_id_of(model, calibration, self.feature_names)
        manifest = Manifest(
            model_id=model_id,
            seal=hashlib.sha256(content).hexdigest(),
            feature_names=self.feature_names,
            feature_set_id=self.feature_set_id,
            calibration=calibration,
            expected_raw=expected_raw_of(model),
            versions=_versions(),
            training=training,
            metrics=metrics,
        )
        if not self._holds(model_id):
            self._put(model_id, {_MODEL: content, _MANIFEST: manifest.to_json()})
        return model_id

    def load(self, model_id: str) -> Artifact:
        """Read a model and check it: seal first, then types, features and content.

        Raises:
            ArtifactError: If anything is not as it was saved, or not for these features.
        """
        _check_id(model_id, "model id")
        folder = self.directory / model_id
        manifest = _manifest_of(_read(folder / _MANIFEST), folder / _MANIFEST)
        content = _read(folder / _MODEL)  # once: what is sealed is what is parsed
        _check(folder / _MODEL, "seal", manifest.seal, hashlib.sha256(content).hexdigest())
        _check_names(folder / _MANIFEST, self.feature_names, manifest.feature_names)
        _check(folder / _MANIFEST, "feature set", self.feature_set_id, manifest.feature_set_id)
        model = _parsed(content, folder / _MODEL)
        try:
            found_id = model_id_of(model, manifest.calibration, manifest.feature_names)
        except TreeError as error:
            raise _refusal(folder / _MODEL, str(error)) from error
        _check(folder / _MODEL, "model id", model_id, found_id)
        _check(folder / _MANIFEST, "model id", model_id, manifest.model_id)
        return Artifact(model, manifest)

    def current(self) -> str:
        """Return the id of the model that new work should use.

        Raises:
            ArtifactError: If none was set, or the file holds something else.
        """
        path = self.directory / _CURRENT
        model_id = _read(path).decode(errors="replace").strip()
        _check_id(model_id, str(path))
        return model_id

    def set_current(self, model_id: str) -> None:
        """Make a saved model the current one; a reader sees the old id or the new one, never half.

        Raises:
            ArtifactError: If it cannot be loaded: what cannot serve does not become current.
        """
        self.load(model_id)
        if self.history()[-1:] != [model_id]:
            write_over(self.directory / _HISTORY, "".join(f"{each}\n" for each in [*self.history(), model_id]))
        write_over(self.directory / _CURRENT, f"{model_id}\n")

    def history(self) -> list[str]:
        """Return the models that were current, in their order; the last one is."""
        path = self.directory / _HISTORY
        return path.read_text("utf-8").split() if path.exists() else []

    def models(self) -> list[str]:
        """Return the ids of all models that are there. None is ever deleted by us."""
        folders = self.directory.iterdir() if self.directory.exists() else []
        return sorted(folder.name for folder in folders if _ID.fullmatch(folder.name))

    def roll_back(self) -> str:
        """Make the model current that was so before the present one; return its id.

        Done twice it goes back two models, not forth again: what was rolled back leaves the history.

        Raises:
            ArtifactError: If there was none, or it cannot be loaded.
        """
        before = self.history()[:-1]
        if not before:
            msg = f"artifacts {self.directory}: no model was current before the present one"
            raise ArtifactError(msg)
        self.load(before[-1])
        write_over(self.directory / _CURRENT, f"{before[-1]}\n")
        write_over(self.directory / _HISTORY, "".join(f"{each}\n" for each in before))
        return before[-1]

    def _holds(self, model_id: str) -> bool:
        try:
            self.load(model_id)
        except ArtifactError:
            return False
        return True

    def _put(self, model_id: str, files: Mapping[str, bytes]) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{model_id}-", dir=self.directory))
        for name, content in files.items():
            _write(temporary / name, content)
        temporary.chmod(0o755)
        shutil.rmtree(self.directory / model_id, ignore_errors=True)  # only one that cannot be loaded
        temporary.replace(self.directory / model_id)


def model_id_of(model: Any, calibration: Calibration, feature_names: tuple[str, ...]) -> str:
    """Name a model by what decides its scores and reasons.

    The first 64 bits of SHA-256: a bank that keeps ten thousand models has two under one name once in 10^11 such
    banks, and against forgery stands the seal, which is whole. Short enough to stand in every flag.

    Args:
        model: Fitted binary `HistGradientBoostingClassifier`.
        calibration: Its knots.
        feature_names: The columns that it was trained on.

    Returns:
        16 hexadecimal digits.

    Raises:
        TreeError: If the model is something else.
    """
    trees = trees_of(model)
    if model.n_features_in_ != len(feature_names):
        msg = f"model must have {len(feature_names)} features, got {model.n_features_in_}"
        raise TreeError(msg)
    facts = {"feature_names": feature_names, "knots": len(calibration.raw), "trees": len(trees)}
    floats = np.array([baseline_of(model), *calibration.raw, *calibration.score], dtype="<f8")
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode() + b"\n" + floats.tobytes())
    for nodes in trees:
        digest.update(content_of(nodes))
    return digest.hexdigest()[:16]


def expected_raw_of(model: Any) -> float:
    """Return the mean log-odds of the training rows: the baseline and each tree's mean leaf."""
    leaves = (nodes[nodes["is_leaf"] == 1] for nodes in trees_of(model))
    return baseline_of(model) + sum(float(np.average(leaf["value"], weights=leaf["count"])) for leaf in leaves)


def _parsed(content: bytes, path: Path) -> Any:
    try:
        return skops.io.loads(content, trusted=list(TRUSTED_TYPES))
    except Exception as error:  # a file made to harm may raise anything
        raise _refusal(path, f"cannot be read as a skops model: {type(error).__name__}: {error}") from error


def _manifest_of(text: bytes, path: Path) -> Manifest:
    try:
        return Manifest.from_json(text)
    except (KeyError, TypeError, ValueError, AttributeError, CalibrationError) as error:
        raise _refusal(path, f"cannot be read as a manifest: {type(error).__name__}: {error}") from error


def _versions() -> dict[str, str]:
    return {"python": python_version()} | {name: version(name) for name in ("numpy", "scikit-learn", "skops")}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _refusal(path, f"cannot be read: {error.strerror}") from error


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_over(path: Path, text: str) -> None:
    """Write a file over what is there; a reader sees the old text or the new one, never half."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(descriptor)
    _write(Path(temporary), text.encode())
    Path(temporary).chmod(0o644)  # for a service that runs as another user
    Path(temporary).replace(path)


def _check_id(model_id: str, where: str) -> None:
    if not _ID.fullmatch(model_id):
        msg = f"{where} must be 16 hexadecimal digits, got {model_id[:64]!r}"
        raise ArtifactError(msg)


def _check(path: Path, what: str, expected: object, got: object) -> None:
    if expected != got:
        raise _refusal(path, f"{what} must be {expected}, got {got}")


def _check_names(path: Path, expected: tuple[str, ...], got: tuple[str, ...]) -> None:
    for place, (name, found) in enumerate(zip_longest(expected, got)):
        _check(path, f"feature {place}", name, found)


def _refusal(path: Path, what: str) -> ArtifactError:
    return ArtifactError(" ".join(f"artifact {path}: {what}".split()))  # one line, whatever a library said
