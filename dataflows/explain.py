"""`python -m dataflows.explain FLAG_ID`: a flag computed again, and the session that led to it.

Two levels. First: the state that the flag carries, the event and the recorded answers of the stores give the vector and
the raw score again, to the bit. Second: the session's events, read again from the instance's first one on, give the
same vector; where they do not, the cause is named.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dataflows.connectors.registry import Writers
from dataflows.connectors.topic_reader import TopicReader, TopicReaderError
from dataflows.explanation import Explanation, ExplanationError, Sources, explain
from dataflows.explanation_page import page
from dataflows.export import ExportError
from dataflows.settings import Settings, SettingsError
from model.artifacts import ArtifactError, ArtifactShelf
from model.command_line import argument_parser, say
from observability.health import Readiness
from schemas import catalogue

PROG = "python -m dataflows.explain"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0 if both levels hold, 1 if not or if it could not be done, 2 for bad arguments."""
    given = _arguments(argv)
    try:
        settings = Settings.from_env(os.environ)
        writers, shelf = Writers(settings.schema_registry_url, Readiness()), ArtifactShelf(settings.model_dir)
        flag = _flag(settings, given.flag_id)
        with TopicReader(settings, flag["topic"]) as events:
            found = explain(flag, Sources(events, writers, shelf, settings.lateness_ms))
        if given.html:
            given.html.write_text(page(found), encoding="utf-8")
    except SettingsError as error:
        return _fail(error, 2)
    except (TopicReaderError, ExportError, ExplanationError, ArtifactError, OSError) as error:
        return _fail(error, 1)
    say(json.dumps(found.as_json()) if given.json else "\n".join(_lines(found)))
    return 0 if found.holds else 1


def _flag(settings: Settings, flag_id: str) -> dict[str, Any]:
    """Find a flag; repeats of it are the same flag.

    Raises:
        ExplanationError: If the topic does not have it.
    """
    with TopicReader(settings, settings.flags_topic) as reader:
        for partition in reader.partitions():
            for records in reader.read(partition, *reader.extent(partition)):
                for record in records:
                    value = record.value() or b""
                    if flag_id.encode() in value:
                        return catalogue.read(catalogue.FLAG, value)
    msg = f"topic {settings.flags_topic} has no flag {flag_id[:80]}"
    raise ExplanationError(msg)


def _lines(found: Explanation) -> list[str]:
    """Return the explanation as text."""
    flag = found.flag
    lines = [
        f"flag {flag['flag_id']}",
        (
            f"{flag['level']}: score {flag['score']:.4f} above {flag['threshold']:g}, raw {flag['raw_score']:.6f},"
            f" model {flag['model_id']}"
        ),
        f"at offset {flag['offset']} of partition {flag['partition']} of {flag['topic']}"
        + (f"; degraded: {', '.join(flag['degraded'])}" if flag["degraded"] else ""),
        "",
        f"from the state in the flag: {found.first}",
        f"from the session's events:  {found.second}",
        "",
        f"{'baseline':32} {'':>14} {found.baseline:>12.4f}",
    ]
    for reason in found.reasons:
        usual = "" if reason.usual is None else f"  usually {reason.usual:.4g}"
        lines.append(f"{reason.feature:32} {reason.value:>14.6g} {reason.contribution:>+12.4f}  {reason.code}{usual}")
    lines += [f"{'all others':32} {'':>14} {found.others:>+12.4f}", ""]
    lines += [
        f"{step.time}  {step.gap:>9}  {step.event_type:<13} {step.latency_ms:>6} ms  {step.score:>7.4f}"
        f" {step.level:<7} {step.page}{step.changed}"
        for step in found.steps
    ]
    return lines


def _fail(error: Exception, code: int) -> int:
    sys.stderr.write(f"explain: {error}\n")
    return code


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser(PROG, "Compute a flag again, and show the session that led to it.")
    parser.add_argument("flag_id", help="of the flag")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--html", type=Path, help="write a page with plots to this file")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
