"""The plots of the model card, as SVG files: drawn with the numbers of one evaluation, the same each time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import precision_recall_curve

from model.metrics import Sessions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE = (5.2, 3.4)
_HONEST, _FRAUD, _LINE = "#5b7c99", "#c4553b", "#444444"


def draw(
    folder: Path,
    sessions: Sessions,
    calibration: Sequence[tuple[float, float, int]],
    worth: Mapping[str, Mapping[str, float]],
    recall_by_kind: Mapping[str, Mapping[str, float | None]],
) -> list[str]:
    """Write the plots; return their names.

    Args:
        folder: Where to; made if it is missing.
        sessions: Of all worlds together.
        calibration: Mean score, share of fraud and events of each bin.
        worth: Figures without each family of features.
        recall_by_kind: By world.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plots = {
        "precision_recall": lambda axes: _precision_recall(axes, sessions),
        "calibration": lambda axes: _calibration(axes, calibration),
        "scores": lambda axes: _scores(axes, sessions),
        "recall_by_kind": lambda axes: _recall_by_kind(axes, recall_by_kind),
        "ablation": lambda axes: _ablation(axes, worth),
    }
    for name, plot in plots.items():
        _save(folder / f"{name}.svg", plot)
    return list(plots)


def _save(file: Path, plot: Any) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - only the card needs it, the service does not have it
    from matplotlib.figure import Figure  # noqa: PLC0415

    look: Any = {"svg.hashsalt": file.stem, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    with mpl.rc_context(look):
        figure = Figure(figsize=_SIZE, layout="constrained")
        plot(figure.add_subplot())
        figure.savefig(file, metadata={"Date": None})


def _precision_recall(axes: "Axes", sessions: Sessions) -> None:
    precision, recall, _ = precision_recall_curve(sessions.is_fraud, sessions.raw)
    axes.step(recall, precision, where="post", color=_FRAUD)
    axes.set(xlabel="recall (sessions)", ylabel="precision", title="Precision and recall", xlim=(0, 1), ylim=(0, 1.02))


def _calibration(axes: "Axes", calibration: Sequence[tuple[float, float, int]]) -> None:
    score, share, _ = zip(*calibration, strict=True) if calibration else ((), (), ())
    axes.plot([0, 1], [0, 1], color=_LINE, linewidth=0.8, linestyle=":")
    axes.plot(score, share, marker="o", markersize=4, color=_FRAUD)
    axes.set(xlabel="score (mean of a bin of events)", ylabel="share of fraud", title="Calibration")


def _scores(axes: "Axes", sessions: Sessions) -> None:
    bins = np.linspace(0, 1, 41).tolist()
    parts = (("honest sessions", ~sessions.is_fraud, _HONEST), ("attacks", sessions.is_fraud, _FRAUD))
    for label, rows, colour in parts:
        axes.hist(sessions.score[rows], bins=bins, label=label, color=colour, alpha=0.6)
    axes.set(yscale="log", xlabel="largest score of a session", ylabel="sessions", title="Scores")
    axes.legend(frameon=False)


def _recall_by_kind(axes: "Axes", recall_by_kind: Mapping[str, Mapping[str, float | None]]) -> None:
    kinds = sorted({kind for world in recall_by_kind.values() for kind in world})
    for place, (world, recalls) in enumerate(recall_by_kind.items()):
        values = [recalls.get(kind) or 0.0 for kind in kinds]
        axes.scatter(values, range(len(kinds)), s=18, label=world, zorder=2 + place)
    axes.set_yticks(range(len(kinds)), [kind.replace("_", " ") for kind in kinds])
    axes.set(xlim=(0, 1.02), title="Attacks flagged with 0.5 % of honest sessions", xlabel="recall")
    axes.grid(axis="x", linewidth=0.4)
    axes.legend(frameon=False, fontsize=7)


def _ablation(axes: "Axes", worth: Mapping[str, Mapping[str, float]]) -> None:
    families = [name for name in worth if name != "none"]
    lost = [worth["none"]["average_precision"] - worth[name]["average_precision"] for name in families]
    axes.barh(families, lost, color=_HONEST)
    axes.invert_yaxis()
    axes.set(xlabel="average precision lost without it", title="What each family of features is worth")
