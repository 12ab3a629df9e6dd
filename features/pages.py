"""Page names as features and counts know them: free of ids, so that a bank has hundreds of pages, not millions."""

import re
from functools import lru_cache

import polars as pl

MAX_PAGE_BYTES = 256
OTHER_PAGE = "other"

_UNSAFE = re.compile(r"[\x00-\x1f\x7f{}]")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_DIGITS = re.compile(r"[0-9]+")


@lru_cache(maxsize=16_384)
def normalise_page(page: str) -> str:
    """Cut query and fragment, and put a placeholder for each numeric or uuid part of the path.

    Control characters and braces are taken out (braces would move a Redis key to another cluster slot). The result
    has 1 to `MAX_PAGE_BYTES` bytes.

    >>> normalise_page("/accounts/4711/statements?year=2025#top")
    '/accounts/:n/statements'
    >>> normalise_page("/payees/0f8fad5b-d9cb-469f-a165-70867728950e")
    '/payees/:uuid'
    """
    path = _UNSAFE.sub("", re.split(r"[?#]", page, maxsplit=1)[0])
    path = "/".join(_placeholder(part) for part in path.split("/"))
    return path.encode()[:MAX_PAGE_BYTES].decode(errors="ignore") or "/"


def _placeholder(part: str) -> str:
    if _DIGITS.fullmatch(part):
        return ":n"
    return ":uuid" if _UUID.fullmatch(part) else part


def with_normal_pages(events: pl.DataFrame) -> pl.DataFrame:
    """Replace the column `page` of an event frame by its normal form."""
    pages = pl.Series("page", list(map(normalise_page, events["page"].to_list())), dtype=pl.String)
    return events.clone().replace_column(events.get_column_index("page"), pages)
