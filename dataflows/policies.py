"""The levels that a new snapshot adopts: of the policy file, or the settings' where there is none."""

import logging
from pathlib import Path

from model.artifacts import Artifact
from model.decision import Level
from model.policy import FILE, Policy, PolicyError
from observability import metrics

logger = logging.getLogger("fraud.policy")


class Policies:
    """Reads the policy file when it changes. A bad new one is refused and counted: the old levels stay.

    Args:
        model_dir: Where the file is.
        default: The levels where there is none.
    """

    def __init__(self, model_dir: Path, default: tuple[Level, ...]) -> None:
        self._path = model_dir / FILE
        self._default = default
        self._read: tuple[int, str] | None = None
        """When the file was changed that the levels come from, and for which model."""
        self._levels: tuple[Level, ...] | None = None

    def levels(self, artifact: Artifact) -> tuple[Level, ...]:
        """Return the levels with a model.

        Raises:
            PolicyError: If the file is bad and there are no earlier levels to keep.
        """
        try:
            changed = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            self._levels = self._read = None
            return self._default
        if self._levels is not None and self._read == (changed, artifact.model_id):
            return self._levels
        try:
            levels = Policy.from_json(self._path.read_text("utf-8")).levels(artifact.manifest.metrics)
        except (PolicyError, OSError) as error:
            if self._levels is None:
                msg = f"{self._path}: {error}"
                raise PolicyError(msg) from error
            metrics.POLICY_FAILURES.inc()
            logger.error("%s is refused, the levels stay: %s", self._path, error)  # noqa: TRY400 - the line says it
            levels = self._levels
        else:
            logger.info("levels: %s", ", ".join(f"{level.name} above {level.threshold:.4g}" for level in levels))
        self._levels, self._read = levels, (changed, artifact.model_id)
        return levels
