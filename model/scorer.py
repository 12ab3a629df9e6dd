"""The model at work: feature vectors in, log-odds and calibrated scores out, the same bits for the same vector.

It must never guess: a vector that is not one finite number a feature is an error of ours, not a score.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.artifacts import Artifact
from model.evaluators import Evaluator, agree, in_onnxruntime, in_sklearn


class ScorerError(ValueError):
    """A feature matrix has the wrong shape or holds NaN or infinity."""


class Scores(NamedTuple):
    """The scores of a batch, one an event."""

    raw: NDArray[np.float64]
    """Log-odds, before calibration."""
    score: NDArray[np.float64]
    """Calibrated, within (0, 1): what the levels act on."""


class Scorer:
    """Scores feature vectors with one artifact.

    Args:
        artifact: As `ArtifactShelf.load` checked it.
        evaluator: What to add up the trees with. If it does not give scikit-learn's bits for this model on this
            machine, scikit-learn does it: see the attribute.

    Attributes:
        model_id: The model's name.
        evaluator: What adds up the trees.
    """

    def __init__(self, artifact: Artifact, evaluator: Evaluator = "onnxruntime") -> None:
        self.model_id = artifact.model_id
        self.evaluator: Evaluator = "sklearn"
        self._evaluate = in_sklearn(artifact.model)
        if evaluator == "onnxruntime" and agree(artifact.model, fast := in_onnxruntime(artifact.model)):
            self.evaluator, self._evaluate = "onnxruntime", fast
        self._features = artifact.manifest.feature_names
        self._calibration = artifact.manifest.calibration

    def score(self, matrix: NDArray[np.float64]) -> Scores:
        """Score a batch in one call.

        Args:
            matrix: float64 (events, features), columns in the order of the artifact's feature names.

        Returns:
            Log-odds and calibrated scores, one an event.

        Raises:
            ScorerError: If the shape is another one or a number is not finite.
        """
        raw = self.raw(matrix)
        return Scores(raw, self._calibration.scores_of(raw))

    def raw(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the log-odds, float64 (events,); arguments and errors as of `score`."""
        self._check(matrix)
        if not len(matrix):
            return np.empty(0)
        return self._evaluate(matrix)

    def _check(self, matrix: NDArray[np.float64]) -> None:
        if matrix.ndim != 2 or matrix.shape[1] != len(self._features):  # noqa: PLR2004 - rows and columns
            msg = f"feature matrix must be (events, {len(self._features)}), got {matrix.shape}"
            raise ScorerError(msg)
        finite = np.isfinite(matrix)
        if not finite.all():
            row, column = np.argwhere(~finite)[0].tolist()
            msg = f"feature {self._features[column]} must be finite, got {matrix[row, column]} in row {row}"
            raise ScorerError(msg)
