"""Fit and calibrate a model on labelled examples: the same plan and examples give the same model id."""

from dataclasses import asdict, dataclass

from sklearn.ensemble import HistGradientBoostingClassifier

from model.artifacts import Artifact, ArtifactShelf
from model.calibration import fit_calibration
from model.examples import Examples, split_by_start
from model.metrics import metrics_of
from model.scorer import Scores


@dataclass(frozen=True, slots=True)
class Plan:
    """The choices of a training run.

    On unseen simulated banks 60 trees of 31 leaves judge as well as 80 or 100 smaller ones and cost the least by
    event; twice as many events gained 0.02 of average precision.

    Attributes:
        seed: Of the simulated bank and of the classifier.
        events: Simulated events, for all three parts together.
        max_iter: Trees.
        max_leaf_nodes: Leaves a tree.
        learning_rate: Share of each tree's correction that is kept.
        l2: Shrinks the leaves.
        min_samples_leaf: Rows a leaf.
    """

    seed: int = 7
    events: int = 400_000
    max_iter: int = 60
    max_leaf_nodes: int = 31
    learning_rate: float = 0.1
    l2: float = 1.0
    min_samples_leaf: int = 40


def fit_and_save(examples: Examples, plan: Plan, shelf: ArtifactShelf) -> Artifact:
    """Train on the earliest sessions, calibrate on later ones, measure on the last, save and make current.

    Args:
        examples: Of a labelled stream.
        plan: Parameters; they go into the manifest.
        shelf: Where the artifact goes.

    Returns:
        The artifact as it was read back: what was measured is what will serve.

    Raises:
        ExamplesError: If there are too few sessions of one sort.
    """
    train, calibrate, test = split_by_start(examples)
    model = _classifier(plan).fit(train.matrix, train.label)
    calibration = fit_calibration(model.decision_function(calibrate.matrix), calibrate.label)
    training = asdict(plan) | {"train_rows": len(train), "calibration_rows": len(calibrate)}
    raw = model.decision_function(test.matrix)
    metrics = metrics_of(test, Scores(raw, calibration.scores_of(raw)))
    model_id = shelf.save(model, calibration, training, metrics)
    shelf.set_current(model_id)
    return shelf.load(model_id)


def _classifier(plan: Plan) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(
        max_iter=plan.max_iter,
        max_leaf_nodes=plan.max_leaf_nodes,
        learning_rate=plan.learning_rate,
        l2_regularization=plan.l2,
        min_samples_leaf=plan.min_samples_leaf,
        early_stopping=False,
        random_state=plan.seed,
    )
