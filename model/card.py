"""MODEL_CARD.md: what the current model is, how it was measured, and what it cannot do, from one evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any

from model.artifacts import Manifest

_HEAD = """# Model card

Written by `make evaluate`. All figures are of simulated banks (`model/simulator`): they say that the machinery works
and how kinds of attack compare, not how a bank's own fraud would be caught. Train and evaluate on your own events:
`python -m model.train --events PATH --labels labels.csv`.
"""

_USE = """## For what, and not for what

- Scores every event of a session that is still open, 0 to 1; levels act on it (`review`, `block`). It sees the events
  of the session, what is normal for its user (`features/profile.py`) and what the stores know; no names, no amounts.
- It was made to send people to look, with reasons they can check. A flag alone should refuse nobody a service.
- Honest people who differ from their own habits (a new phone, a journey, another person's help) score higher; the
  simulator has them, and the share flagged is the false alarms below.
- The first sessions of a user have no normal to compare with; then the model is as good as the other features are.
- Reasons are path contributions (Saabas): exact sums of the trees' expectations, not causes.
"""


_MULES = """Of the mule payments {} typed an account that others had begun to type in the two days before: hardly
more of them can be told from a customer who pays somebody new.
"""


def card(manifest: Manifest, worlds: Mapping[str, Mapping[str, Any]], more: Mapping[str, Any]) -> str:
    """Return the text.

    Args:
        manifest: Of the model.
        worlds: By name, the figures of `model.metrics.metrics_of`, and `together`.
        more: `intervals`, `worth` (of families of features), `plots` (names), `score_us`, `typed_before`.
    """
    overall = worlds["together"]
    parts = [
        _HEAD,
        _facts(manifest, more["score_us"]),
        "## How good\n",
        _headline(overall, more["intervals"]),
        _worlds_table(worlds),
        _kinds_table(worlds),
        _MULES.format(_percent(more["typed_before"])),
        _levels_table(overall),
        *(f"![{name.replace('_', ' ')}](model/card/{name}.svg)" for name in more["plots"]),
        "\n## What each family of features is worth\n",
        "Models of the same size, trained without it and judged on the first world.\n",
        _worth_table(more["worth"]),
        _USE,
    ]
    return "\n".join(parts).rstrip("\n") + "\n"


def _facts(manifest: Manifest, score_us: float) -> str:
    training = manifest.training
    lines = [
        (
            f"- Model `{manifest.model_id}`, feature set `{manifest.feature_set_id}`,"
            f" {len(manifest.feature_names)} features."
        ),
        (
            f"- Gradient-boosted trees of scikit-learn, {training['max_iter']} of {training['max_leaf_nodes']} leaves,"
            f" calibrated by {len(manifest.calibration.raw)} knots; seed {training['seed']}."
        ),
        f"- {score_us:g} us a score in batches of 5,000, on the machine that evaluated it.",
        f"- Trained with {', '.join(f'{name} {version}' for name, version in manifest.versions.items())}.",
    ]
    return "\n".join(lines) + "\n"


def _headline(overall: Mapping[str, Any], intervals: Mapping[str, Sequence[float]]) -> str:
    def told(name: str) -> str:
        low, high = intervals[name]
        return f"{overall[name]:.3f} ({low:.3f} to {high:.3f})"

    delay = overall["delay"]
    seconds, events = delay["seconds"], delay["events"]
    lines = [
        (
            f"Over {overall['sessions']:,} sessions, {overall['fraud_sessions']:,} of them attacked, of worlds with"
            " seeds and attack parameters that training has not seen; in brackets 95 % bootstrap intervals:"
        ),
        "",
        f"- average precision {told('average_precision')}, AUC {told('auc')};",
        f"- recall {told('recall')} where 0.5 % of the honest sessions are flagged;",
        (
            f"- there, {_percent(overall['flagged_before_transfer'])} of the attacks that moved money were flagged"
            " before the first transfer;"
        ),
        f"- flagged attacks were flagged {events['p50']:g} events (p90 {events['p90']:g}) and {seconds['p50']:g} s"
        f" (p90 {seconds['p90']:g}) after their onset."
        if events
        else "- no attack was flagged.",
    ]
    return "\n".join(lines) + "\n"


def _worlds_table(worlds: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        "| world | sessions | attacked | average precision | AUC | recall | before the transfer |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {one['sessions']:,} | {one['fraud_sessions']:,} | {one['average_precision']:.3f}"
        f" | {one['auc']:.3f} | {_percent(one['recall'])} | {_percent(one['flagged_before_transfer'])} |"
        for name, one in worlds.items()
    ]
    return "\n".join(lines) + "\n"


def _kinds_table(worlds: Mapping[str, Mapping[str, Any]]) -> str:
    kinds = sorted({kind for one in worlds.values() for kind in one["recall_by_kind"]})
    lines = [
        "Recall by kind of attack, where 0.5 % of the honest sessions are flagged:\n",
        "| kind | " + " | ".join(worlds) + " |",
        "|---" * (1 + len(worlds)) + "|",
    ]
    for kind in kinds:
        cells = (_percent(one["recall_by_kind"].get(kind)) for one in worlds.values())
        lines.append(f"| {kind.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _levels_table(overall: Mapping[str, Any]) -> str:
    lines = ["| level | recall | honest sessions flagged | alerts a day |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {_percent(level['recall'])} | {_percent(level['false_alarms'])} | {level['alerts_a_day']:,.1f} |"
        for name, level in overall["levels"].items()
    ]
    return "\n".join(lines) + "\n"


def _worth_table(worth: Mapping[str, Mapping[str, float]]) -> str:
    lines = ["| without | average precision | recall |", "|---|---|---|"]
    lines += [
        f"| {'nothing' if name == 'none' else name} | {one['average_precision']:.3f} | {_percent(one['recall'])} |"
        for name, one in worth.items()
    ]
    return "\n".join(lines) + "\n"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
