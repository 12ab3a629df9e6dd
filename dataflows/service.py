"""The process of the fraud flow: any process, with models and levels."""

from dataflows.ending import Ending
from dataflows.items import Configuration
from dataflows.models import Models
from dataflows.policies import Policies
from dataflows.process import Process
from dataflows.settings import Settings
from dataflows.warm_up import warm_up
from features.session import FEATURE_SET_ID
from model.artifacts import ArtifactShelf
from model.decision import Level


class Service(Process):
    """The process, as the steps of the fraud flow see it.

    Args:
        settings: Read once.
        ending: Says when to stop.
    """

    def __init__(self, settings: Settings, ending: Ending | None = None) -> None:
        super().__init__(settings, ending)
        self.models = Models(ArtifactShelf(settings.model_dir), settings.evaluator)
        self._policies = Policies(
            settings.model_dir, (Level("review", settings.review_above), Level("block", settings.block_above))
        )

    def rights(self) -> dict[str, str]:
        """Return what the fraud flow needs of Kafka: `READ` or `WRITE`, by topic."""
        settings = self.settings
        return super().rights() | {settings.flags_topic: "WRITE", settings.dead_letters_topic: "WRITE"}

    def prepare(self) -> None:
        """Open the deployed model, and have it work once.

        Raises:
            ArtifactError: If there is no usable model.
        """
        warm_up(self.models.open(self.deployed().model_id))

    def deployed(self) -> Configuration:
        """Return the configuration that a new snapshot adopts."""
        model_id = self.models.deployed()
        return Configuration(
            model_id=model_id,
            feature_set_id=FEATURE_SET_ID,
            levels=self._policies.levels(self.models.open(model_id).artifact),
            enrichment=self.settings.enrichment,
        )

    def use(self, configuration: Configuration) -> None:
        """Open the model of a configuration that a snapshot names.

        Raises:
            ArtifactError: If it is missing, damaged, or made for other features.
        """
        self.models.open(configuration.model_id)
