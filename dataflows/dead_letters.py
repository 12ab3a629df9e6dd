"""`python -m dataflows.dead_letters list|show|replay`: what was rejected, and the way back for what can be repaired.

Lines and totals never hold a value, a key or an id; only `show` does.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataflows.clock import now_ms
from dataflows.connectors import backfill
from dataflows.connectors.letter_topic import Extent, LetterTopic, LetterTopicError, WayBack
from dataflows.connectors.registry import Writers
from dataflows.dead_letters_arguments import arguments_of
from dataflows.letter_ledger import Ledger, LedgerError
from dataflows.letters import FINAL, TOO_LATE, WORDS, Letter, Rules, Selection, events_of, moment, schema_ids
from dataflows.settings import Settings, SettingsError
from observability.health import Readiness
from schemas.codec import WriterSchema
from schemas.framing import HEADER_BYTES, FramingError, unframe

_ASK_AGAIN_SECONDS = 0.02


class RegistryError(RuntimeError):
    """The schema registry does not answer; the message is one line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return 0, 1 where it could not be done, 2 for bad arguments or settings."""
    arguments = arguments_of(argv)
    commands = {"list": list_letters, "show": show_letter, "replay": replay_letters, "backfill": backfill_letters}
    try:
        settings = Settings.from_env(os.environ)
        topic = LetterTopic(settings)
        try:
            return commands[arguments.command](settings, topic, arguments)
        finally:
            topic.close()
    except SettingsError as error:
        return _fail(error, 2)
    except (LetterTopicError, LedgerError, backfill.BackfillError, RegistryError) as error:
        return _fail(error, 1)
    except BrokenPipeError:  # the reader has seen enough, as in `list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _fail(error: Exception, code: int) -> int:
    sys.stderr.write(f"dead_letters: {error}\n")
    return code


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def list_letters(_: Settings, topic: LetterTopic, arguments: argparse.Namespace) -> int:
    """Print a line a letter, and totals by reason."""
    selection: Selection = arguments.selection
    totals: Counter[str] = Counter()
    for extent in topic.extents():
        for letters in topic.read(extent):
            for letter in filter(selection.takes, letters):
                if totals.total() < arguments.limit:
                    _say(letter.line())
                totals[letter.reason] += 1
    if totals.total() > arguments.limit:
        _say(f"... {totals.total() - arguments.limit} more")
    for reason, count in totals.most_common():
        _say(f"{count:9,}  {reason}")
    _say(f"{totals.total():9,}  in all")
    return 0


def show_letter(settings: Settings, topic: LetterTopic, arguments: argparse.Namespace) -> int:
    """Print everything that a letter holds, as JSON."""
    partition, offset = map(int, arguments.place.split(":"))
    for extent in topic.extents():
        if extent.partition == partition and extent.first <= offset < extent.end:
            for letters in topic.read(Extent(partition, offset, offset + 1)):
                _say(json.dumps(_all_of(letters[0], Schemas(settings)), indent=2, ensure_ascii=False))
                return 0
    msg = f"{topic.name} has no letter {arguments.place}"
    raise LetterTopicError(msg)


def _all_of(letter: Letter, schemas: "Schemas") -> dict[str, Any]:
    """Return a letter as JSON values: bytes in hex, and the value as an event where it can be read as one."""
    record = letter.record
    if record is None:
        return {"letter": letter.place, "written_at": moment(letter.kafka_ms), "unreadable_bytes": letter.size}
    headers = [[it["name"], it["value"].hex() if it["value"] is not None else None] for it in record["headers"]]
    hexed = {name: record[name].hex() if record[name] is not None else None for name in ("value", "key")}
    return {
        "letter": letter.place,
        "written_at": moment(letter.kafka_ms),
        **{name: value for name, value in record.items() if name not in {"value", "key", "headers"}},
        **hexed,
        "headers": headers,
        "event": _event_in(record["value"] or b"", schemas.of([letter])),
    }


def _event_in(value: bytes, writers: dict[int, WriterSchema]) -> dict[str, Any] | None:
    try:
        writer = writers.get(unframe(value)[0])
        return writer.by_record.read_one(value[HEADER_BYTES:]) if writer and writer.by_record else None
    except (FramingError, ValueError):
        return None


@dataclass(slots=True)
class Schemas:
    """The writers' schemas, asked for as letters name them."""

    settings: Settings
    _writers: Writers | None = field(default=None, init=False)

    def of(self, letters: Sequence[Letter]) -> dict[int, WriterSchema]:
        """Return the schemas by id, those of these letters among them where they exist.

        Raises:
            RegistryError: If the registry does not answer in time.
        """
        if self._writers is None:
            self._writers = Writers(self.settings.schema_registry_url, Readiness())
        until = time.monotonic() + self.settings.start_timeout_seconds
        for schema_id in schema_ids(letters):
            while self._writers.find(schema_id) == "waiting":
                if time.monotonic() > until:
                    msg = f"SCHEMA_REGISTRY_URL: no answer within {self.settings.start_timeout_seconds} s"
                    raise RegistryError(msg)
                time.sleep(_ASK_AGAIN_SECONDS)
        return self._writers.known


def replay_letters(settings: Settings, topic: LetterTopic, arguments: argparse.Namespace) -> int:
    """Send the chosen letters' records back, each once."""
    rules = Rules(
        topic=settings.events_topic,
        partitions=topic.partitions_of(settings.events_topic),
        watermarks={} if arguments.force else backfill.Store(settings).watermarks(),
        lateness_ms=settings.lateness_ms,
        now_ms=now_ms(),
        selection=arguments.selection,
        force=arguments.force,
    )
    walk = Replay(topic, WayBack(settings), Schemas(settings), rules, arguments.dry_run, arguments.skip_others)
    for extent in topic.extents():
        walk.through(extent)
    _total(walk.totals, WORDS, "replay", dry_run=arguments.dry_run)
    return 0


@dataclass(slots=True)
class Replay:
    """A walk from the ledger's offset to what was the end when it began.

    Attributes:
        totals: Letters by what became of them.
    """

    topic: LetterTopic
    way_back: WayBack
    schemas: Schemas
    rules: Rules
    dry_run: bool
    skip_others: bool
    totals: Counter[str] = field(default_factory=Counter)

    def through(self, extent: Extent) -> None:
        """Walk through one partition."""
        ledger = self.topic.ledger(extent)
        at = ledger.next_offset
        for letters in self.topic.read(Extent(extent.partition, at, extent.end)):
            ledger.settle(_gaps(at, letters))
            at = letters[-1].offset + 1
            self._do([letter for letter in letters if not ledger.is_settled(letter.offset)], extent.partition, ledger)

    def _do(self, letters: list[Letter], partition: int, ledger: Ledger) -> None:
        """Send what is to be sent, then move the ledger: after a crash in between, letters are sent once more."""
        outcomes = self.rules.judge(letters, self.schemas.of(letters))
        self.totals.update(outcomes)
        pairs = list(zip(letters, outcomes, strict=True))
        ledger.settle(letter.offset for letter, outcome in pairs if self.skip_others or outcome in FINAL)
        if not self.dry_run and letters:
            ledger.metadata()  # refuses before anything is sent
            self.way_back.send([letter for letter, outcome in pairs if outcome == "replayed"])
            self.topic.commit(partition, ledger)


def _gaps(at: int, letters: list[Letter]) -> list[int]:
    """Return the offsets from `at` on that hold no letter, such as a transaction's marker."""
    return sorted({*range(at, letters[-1].offset)} - {letter.offset for letter in letters})


def backfill_letters(settings: Settings, topic: LetterTopic, arguments: argparse.Namespace) -> int:
    """Count the chosen late letters in their minutes, each once."""
    store, schemas = backfill.Store(settings), Schemas(settings)
    totals: Counter[str] = Counter()
    for extent in topic.extents():
        for letters in topic.read(extent):
            late = [it for it in letters if it.reason == TOO_LATE and it.record and arguments.selection.takes(it)]
            events = events_of(late, schemas.of(late))
            totals += store.backfill(events, only_look=arguments.dry_run)
            totals += Counter(still_bad=len(late) - events.height)
    _total(totals, backfill.WORDS, "backfill", dry_run=arguments.dry_run)
    return 0


def _total(totals: Counter[str], words: Mapping[Any, str], what: str, *, dry_run: bool) -> None:
    _say(f"{what}{' (dry run, nothing was done)' if dry_run else ''}: {totals.total():,} letters")
    for outcome, text in words.items():
        if totals[outcome]:
            _say(f"{totals[outcome]:9,}  {outcome}: {text}")


if __name__ == "__main__":
    sys.exit(main())
