"""The arguments of `python -m dataflows.dead_letters`, and what they promise: its help is the manual."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from dataflows.letters import TOO_LATE, Selection

_ABOUT = "Look at dead letters, and send back what can be repaired. Settings are those of the flow (README.md)."

_SHOW = "Print everything that a letter holds, as JSON. This shows personal data: value, key, ids, addresses."

_REPLAY = f"""\
Send records back into their original topic and partition: the same bytes, key and headers, and a header
dead-letter-replay: PARTITION:OFFSET of the letter. Kafka's timestamp is the time of the replay.

Each letter is replayed once. The ledger is the consumer group <KAFKA_GROUP>-dead-letters: its offset is that of the
first open letter, and the text beside it names the settled ones beyond. A run walks from there to what is the end when
it begins. Letters that are not chosen, and those that are refused for now, stay open. Records are sent first and noted
then: after a crash in between at most 200 are sent again, and the flow drops them as duplicates (within its horizon).
Let one replay run at a time. The flow remembers for 30 s that a schema does not exist: after registering one, wait.

Refused for good: a record that was replayed before (its second rejection is final), one that was too late, and what is
no dead letter. Refused for now: a record that would be rejected again as it is; one beyond LATENESS_SECONDS, by the
watermark that its partition has published in Redis, which is a snapshot or two old, so a few may still be too late;
one whose partition has published none.

With --backfill nothing enters the flow: events that were {TOO_LATE} are added to click_count:<page>, under the part
<minute>|backfill, and are never scored. The same event counts once, however often this runs and however many letters
it has; Redis remembers that beside the counts. After Redis has lost its data, run it again. Minutes that are pruned are
refused; a page without counts is counted as other once there are 500 pages.
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> Any:
        """Write the line and end with 2."""
        self.exit(2, f"dead_letters: {message}\n")


def arguments_of(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line: `command`, `selection`, and the command's own; ends the process where it is wrong."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command == "replay":
        _check_replay(parser, arguments)
    arguments.selection = Selection(
        reason=getattr(arguments, "reason", None) or "",
        stage=getattr(arguments, "stage", None) or "",
        since_ms=getattr(arguments, "since", None),
        until_ms=getattr(arguments, "until", None),
        places=frozenset(getattr(arguments, "places", ())),
    )
    return arguments


def _check_replay(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    if arguments.backfill:
        if arguments.force or arguments.skip_others:
            parser.error("--backfill does not go with --force or --skip-others")
        if arguments.reason not in {None, TOO_LATE}:
            parser.error(f"--backfill is for letters with reason {TOO_LATE}, got --reason {arguments.reason}")
        arguments.command = "backfill"
    elif arguments.reason == TOO_LATE:
        parser.error(f"records that were {TOO_LATE} would only be rejected again; --backfill counts them")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m dataflows.dead_letters", description=_ABOUT)
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", description="Print one line a letter, and totals by reason.")
    listing.add_argument("--reason", help="only letters with this reason")
    listing.add_argument("--stage", help="only letters of this stage: decode, validate or admit")
    listing.add_argument("--limit", type=_count, default=1_000, metavar="N", help="print at most N lines (1000)")
    showing = commands.add_parser("show", description=_SHOW)
    showing.add_argument("place", type=_place, metavar="PARTITION:OFFSET", help="the letter's own, as list prints it")
    replaying = commands.add_parser("replay", description=_REPLAY, formatter_class=argparse.RawDescriptionHelpFormatter)
    replaying.add_argument("places", nargs="*", type=_place, metavar="PARTITION:OFFSET", help="only these letters")
    replaying.add_argument("--reason", help="only letters with this reason")
    replaying.add_argument("--since", type=_time_ms, metavar="TIME", help="only letters written then or later, UTC")
    replaying.add_argument("--until", type=_time_ms, metavar="TIME", help="only letters written before, UTC")
    replaying.add_argument("--dry-run", action="store_true", help="do nothing, and say what would be done")
    replaying.add_argument("--force", action="store_true", help="send also what is refused for now, except other_topic")
    replaying.add_argument("--skip-others", action="store_true", help="give up all letters that are not sent: settled")
    replaying.add_argument("--backfill", action="store_true", help=f"count events that were {TOO_LATE}")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal():
        msg = f"expected a whole number from 0, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _place(text: str) -> str:
    partition, _, offset = text.partition(":")
    if not (partition.isdecimal() and offset.isdecimal()):
        msg = f"expected PARTITION:OFFSET, for example 2:1234, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return f"{int(partition)}:{int(offset)}"


def _time_ms(text: str) -> int:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        msg = f"expected a time such as 2026-11-24T15:00, got {text!r}"
        raise argparse.ArgumentTypeError(msg) from None
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
