"""An explanation as one HTML page: plots as inline SVG, nothing fetched, everything that came in events escaped."""

from collections.abc import Sequence
from html import escape

from dataflows.explanation import Explanation, Step

_WIDTH, _HEIGHT, _BAR = 720, 200, 22

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --paper: #fcfcfa; --line: #8a97a5; --up: #b5402a; --down: #2f6690; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --paper: #14191f; --line: #74808d; --up: #f08a72; --down: #84b6dd; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 780px; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem .6rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font-size: 12px; }
.up { fill: var(--up); } .down { fill: var(--down); } .crossed { font-weight: 600; }
"""


def page(found: Explanation) -> str:
    """Return the page."""
    flag = found.flag
    title = f"{flag['level']}: score {flag['score']:.3f}"
    facts = [
        ("flag", flag["flag_id"]),
        ("model", flag["model_id"]),
        ("threshold", f"{flag['threshold']:g}"),
        ("raw score", f"{flag['raw_score']:.6f}"),
        ("place", f"{flag['topic']}, partition {flag['partition']}, offset {flag['offset']}"),
        ("degraded", ", ".join(flag["degraded"]) or "no"),
        ("from the state in the flag", found.first),
        ("from the session's events", found.second),
    ]
    rows = [f'<tr><th scope="row">{escape(name)}</th><td>{escape(str(value))}</td></tr>' for name, value in facts]
    scores, latencies = [step.score for step in found.steps], [step.latency_ms for step in found.steps]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(title)}</title><style>{_STYLE}</style></head><body>
<h1>{escape(title)}</h1><table>{"".join(rows)}</table>
<h2>What weighed most</h2>{_reasons(found)}
<h2>Score after each event</h2>{_line(scores, "Score after each event", flag["threshold"])}
<p>Earlier scores are with the answers that the stores gave for the flag's own event.</p>
<h2>Page reaction time, ms</h2>{_line(latencies, "Reaction time of each event in ms")}
<h2>Events</h2>{_table(found.steps)}
</body></html>
"""


def _reasons(found: Explanation) -> str:
    """Return horizontal bars: what raised the score to the right, what lowered it to the left."""
    largest = max((abs(reason.contribution) for reason in found.reasons), default=1.0) or 1.0
    bars = []
    for place, reason in enumerate(found.reasons):
        length = abs(reason.contribution) / largest * 170
        begins = 420 if reason.contribution >= 0 else 420 - length
        y = place * _BAR
        usual = "" if reason.usual is None else f", usually {reason.usual:.4g}"
        bars.append(
            f'<text x="0" y="{y + 15}">{escape(reason.feature)} = {reason.value:.5g}{usual}</text>'
            f'<rect class="{"up" if reason.contribution >= 0 else "down"}" x="{begins:.1f}" y="{y + 4}"'
            f' width="{length:.1f}" height="{_BAR - 8}"/>'
            f'<text x="600" y="{y + 15}">{reason.contribution:+.3f} {escape(reason.code)}</text>'
        )
    height = _BAR * max(len(found.reasons), 1)
    told = f"Baseline {found.baseline:+.3f}, all other features {found.others:+.3f}; in log-odds."
    return (
        f'<svg viewBox="0 0 860 {height}" role="img"><title>Contributions to the raw score</title>'
        f"<desc>{escape(told)}</desc>{''.join(bars)}</svg><p>{escape(told)}</p>"
    )


def _line(values: Sequence[float], title: str, level: float | None = None) -> str:
    """Return a line over the events, with a level across if there is one."""
    top = max([*values, level or 0.0, 1e-9]) * 1.05
    across = max(len(values) - 1, 1)
    points = [
        (40 + at / across * (_WIDTH - 60), _HEIGHT - 20 - value / top * (_HEIGHT - 40))
        for at, value in enumerate(values)
    ]
    dots = "".join(f'<circle class="up" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points)
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    mark = ""
    if level is not None:
        y = _HEIGHT - 20 - level / top * (_HEIGHT - 40)
        mark = f'<line x1="40" x2="{_WIDTH - 20}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--line)" stroke-dasharray="4"/>'
        mark += f'<text x="2" y="{y + 4:.1f}">{level:g}</text>'
    described = f"{len(values)} events, from {min(values, default=0):.4g} to {max(values, default=0):.4g}"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"><title>{escape(title)}</title><desc>{described}</desc>{mark}'
        f'<polyline points="{line}" fill="none" stroke="var(--up)" stroke-width="1.5"/>{dots}</svg>'
    )


def _table(steps: Sequence[Step]) -> str:
    names = ("time (UTC)", "pause", "event", "page", "ms", "score", "")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(map(_row, steps))}</tbody></table>"


def _row(step: Step) -> str:
    cells = (
        *(step.time, step.gap, step.event_type, step.page + step.changed),
        *(str(step.latency_ms), f"{step.score:.4f}", step.level),
    )
    told = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f"<tr{' class=crossed' if step.level else ''}>{told}</tr>"
