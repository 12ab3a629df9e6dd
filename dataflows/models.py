"""The models this process has opened, and which one is deployed."""

import logging
import time
from dataclasses import dataclass

from dataflows.drift_watch import DriftWatch
from model.artifacts import Artifact, ArtifactError, ArtifactShelf
from model.evaluators import Evaluator
from model.reasons import Reasons
from model.scorer import Scorer
from observability import metrics

logger = logging.getLogger("fraud.model")

_TRY_AGAIN_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class OpenModel:
    """A model ready to score and to give reasons."""

    artifact: Artifact
    scorer: Scorer
    reasons: Reasons
    watch: DriftWatch | None
    """Of its drift; None for models that do not say what they were trained on."""


class Models:
    """Opens each model once.

    Args:
        shelf: Where the artifacts are.
        evaluator: What to add up their trees with.
    """

    def __init__(self, shelf: ArtifactShelf, evaluator: Evaluator = "onnxruntime") -> None:
        self._shelf = shelf
        self._evaluator: Evaluator = evaluator
        self._open: dict[str, OpenModel] = {}
        self._deployed = ""
        self._refused_until = 0.0

    def open(self, model_id: str) -> OpenModel:
        """Return a model.

        Raises:
            ArtifactError: If it is missing, damaged, or made for other features.
        """
        if model_id not in self._open:
            artifact = self._shelf.load(model_id)
            scorer = Scorer(artifact, self._evaluator)
            if scorer.evaluator != self._evaluator:
                logger.warning(
                    "model %s: %s gives other bits than scikit-learn, which is used", model_id, self._evaluator
                )
            reference = artifact.manifest.metrics.get("drift")
            watch = DriftWatch(reference) if reference else None
            self._open[model_id] = OpenModel(artifact, scorer, Reasons(artifact), watch)
        return self._open[model_id]

    def deployed(self) -> str:
        """Return the id of the model to use from now on. A bad new one is refused and counted: the old one stays.

        Each snapshot of each partition asks; a refused model is tried again after 30 s.

        Raises:
            ArtifactError: If there is no old one yet.
        """
        if time.monotonic() < self._refused_until:
            return self._deployed
        try:
            current = self._shelf.current()
            self.open(current)
        except ArtifactError as error:
            if not self._deployed:
                raise
            self._refused_until = time.monotonic() + _TRY_AGAIN_SECONDS
            metrics.MODEL_LOAD_FAILURES.inc()
            logger.error("the deployed model is refused, %s stays: %s", self._deployed, error)  # noqa: TRY400
            return self._deployed
        if current != self._deployed:
            logger.info("model %s", current)
            metrics.MODEL.info({"model_id": current})
            self._deployed = current
        return current
