"""What a backfill leaves in Redis goes when its minute goes, and adds up with what the flow counts."""

import pytest

from dataflows.connectors.backfill import BackfillError, Store
from dataflows.connectors.page_counts import PageCountOutbox
from dataflows.connectors.redis_writer import Link
from dataflows.items import PageCounts
from dataflows.settings import Settings
from features.page_windows import MINUTE_MS, PageCount
from infra.embedded import EmbeddedRedis
from tests.builders import A_MINUTE_MS, an_event, event_frame
from tests.dataflows.connectors.a_link import Client

DAY_MS = 1440 * MINUTE_MS
COUNTS, PARTS, MARKS = "click_count:/a", "{click_count:/a}:parts", "{click_count:/a}:backfilled"
MINUTE = "2025-06-10T05:04:00"


@pytest.fixture
def late(empty_redis: EmbeddedRedis) -> Store:
    """A Redis to which one event of page /a was added."""
    store = Store(Settings.from_env({"REDIS_URL": empty_redis.url}))
    assert store.backfill(event_frame([an_event(page="/a")])) == {"counted": 1}
    return store


def an_outbox() -> PageCountOutbox:
    return PageCountOutbox(0, partitions=1, retention_ms=DAY_MS, lateness_ms=60 * MINUTE_MS, needed=[0])


def put(outbox: PageCountOutbox, count: int, watermark_ms: int) -> None:
    outbox.put(PageCounts(0, [PageCount("/a", A_MINUTE_MS, count)], watermark_ms, 1))


def prune(outbox: PageCountOutbox, link: Link, watermark_ms: int) -> None:
    outbox.put(PageCounts(0, [], watermark_ms, 1))
    outbox.snapshot()
    outbox.snapshot()
    outbox.write_to(link)


def test_the_flow_sets_its_own_part_and_leaves_the_other(late: Store, link: Link, store: Client) -> None:
    outbox = an_outbox()
    for count in (2, 5, 5):
        put(outbox, count, A_MINUTE_MS)
        outbox.write_to(link)

    assert late.backfill(event_frame([an_event(page="/a")])) == {"already_counted": 1}
    assert store.hgetall(COUNTS) == {MINUTE: "6"}
    assert store.hgetall(PARTS) == {f"{MINUTE}|0": "5", f"{MINUTE}|backfill": "1"}


@pytest.mark.parametrize("earlier_minutes", [0, 5])
def test_counts_and_marks_go_with_their_minute(late: Store, link: Link, store: Client, earlier_minutes: int) -> None:
    outbox = an_outbox()
    if earlier_minutes:  # the next step of pruning then goes by a list of minutes
        prune(outbox, link, A_MINUTE_MS - earlier_minutes * MINUTE_MS + DAY_MS)
        assert store.zcard(MARKS) == 1

    prune(outbox, link, A_MINUTE_MS + MINUTE_MS + DAY_MS)

    assert store.exists(COUNTS, MARKS) == 0
    assert list(store.hgetall(PARTS)) == ["floor"]
    assert late.backfill(event_frame([an_event(page="/a")])) == {"below_floor": 1}


def test_a_key_of_another_type_stops_it_and_nothing_is_half_done(late: Store, store: Client) -> None:
    store.set("click_count:/b", "text")

    with pytest.raises(BackfillError, match="WRONGTYPE"):
        late.backfill(event_frame([an_event(page="/b")]))

    assert store.exists("{click_count:/b}:parts", "{click_count:/b}:backfilled") == 0
