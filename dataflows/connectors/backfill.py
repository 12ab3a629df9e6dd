"""Late events into their minutes of `click_count:<page>`, each once; they are never scored.

Redis alone remembers what was added, beside the counts and in one step with them: `{click_count:<page>}:backfilled`
holds a mark of every event, and the part `<minute>|backfill` how many they are. So it may be repeated at any time, and
must be after Redis has lost its data, since the flow does not know these counts.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import redis
from redis.exceptions import RedisError

from dataflows.connectors.page_counts import PAGES_KEY, WATERMARKS_KEY, durable_watermarks, keys_of, minute_name
from dataflows.settings import Settings
from features.page_windows import MAX_PAGES_A_DAY, MINUTE_MS
from features.pages import OTHER_PAGE

CALL_SECONDS = 10.0

ADD = """
local floor = redis.call('HGET', KEYS[2], 'floor')
if floor and ARGV[1] < floor then return 'below_floor' end
local mark = ARGV[1] .. '|' .. ARGV[2]
if redis.call('ZSCORE', KEYS[3], mark) then return 'already_counted' end
if ARGV[3] == 'look' then return 'counted' end
redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
redis.call('HINCRBY', KEYS[2], ARGV[1] .. '|backfill', 1)
redis.call('ZADD', KEYS[3], 0, mark)
return 'counted'
"""

WORDS: Mapping[str, str] = {
    "counted": "added to their minutes",
    "already_counted": "counted before, by an earlier backfill or an earlier letter of the same event",
    "below_floor": "refused: the page's counts of that time are pruned",
    "still_bad": "refused: no valid event any more, its schema may be gone",
}

_MARK_DIGITS = 24


class BackfillError(RuntimeError):
    """Redis did not do what was asked; the message is one line."""


class Store:
    """Redis, for a tool.

    Args:
        settings: Where it is.
    """

    def __init__(self, settings: Settings) -> None:
        self._client: Any = redis.Redis.from_url(
            settings.redis_url,
            decode_responses=True,
            socket_timeout=CALL_SECONDS,
            socket_connect_timeout=CALL_SECONDS,
        )

    def watermarks(self) -> dict[int, int]:
        """Return the durable watermark of every partition that has published one, in ms.

        Raises:
            BackfillError: If Redis does not answer.
        """
        (published,) = self._call(("HGETALL", WATERMARKS_KEY))
        return durable_watermarks(published)

    def backfill(self, events: pl.DataFrame, *, only_look: bool = False) -> Counter[str]:
        """Add late events to the counts of their minutes.

        An event is known by session, id, type and time, as in the flow's filter of duplicates: letters of the same
        event count once. A page that has no counts yet gets its own only while there are fewer pages than the flow
        allows a day; otherwise it is `other`.

        Args:
            events: Event frame, pages in normal form.
            only_look: Whether to count nothing and only say what would be.

        Returns:
            How many events came to which end, by the names in `WORDS`.

        Raises:
            BackfillError: If Redis does not answer; what was counted is marked.
        """
        rows = events.to_dicts()
        if not rows:
            return Counter()
        pages = self._names([row["page"] for row in rows], only_look=only_look)
        marks = [_mark(row) for row in rows]
        minutes = [minute_name(row["timestamp"] // MINUTE_MS * MINUTE_MS) for row in rows]
        as_other = self._call(
            *(
                ("ZSCORE", keys_of(OTHER_PAGE)[2], f"{minute}|{mark}")
                for minute, mark in zip(minutes, marks, strict=True)
            )
        )
        adding = [
            ("EVAL", ADD, 3, *keys_of(page), minute, mark, "look" if only_look else "")
            for page, minute, mark, known in zip(pages, minutes, marks, as_other, strict=True)
            if known is None
        ]
        already = Counter({"already_counted": len(rows) - len(adding)})
        return already + Counter(self._call(*adding) if adding else [])

    def _names(self, pages: Sequence[str], *, only_look: bool) -> list[str]:
        """Return under which name each page is counted; announce it to pruning before anything is."""
        (known,) = self._call(("SMEMBERS", PAGES_KEY))
        names = []
        for page in pages:
            is_named = page in known or len(known) < MAX_PAGES_A_DAY
            names.append(page if is_named else OTHER_PAGE)
            known.add(names[-1])
        if not only_look:
            self._call(("SADD", PAGES_KEY, *dict.fromkeys(names)))
        return names

    def _call(self, *commands: tuple[Any, ...]) -> list[Any]:
        try:
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            answers: list[Any] = pipeline.execute(raise_on_error=False)
            for answer in answers:
                if isinstance(answer, RedisError):
                    raise answer
        except RedisError as error:
            msg = f"Redis does not do what was asked: {type(error).__name__}: {error}"
            raise BackfillError(msg) from None
        return answers


def _mark(event: Mapping[str, Any]) -> str:
    what = json.dumps([event[name] for name in ("session_id", "event_id", "event_type", "timestamp")])
    return hashlib.sha256(what.encode()).hexdigest()[:_MARK_DIGITS]
