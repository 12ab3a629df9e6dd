import io
import math
import struct
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from bytewax.testing import run_main
from polars.testing import assert_frame_equal
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from dataflows.connectors import vectors as connector
from dataflows.connectors.redis_writer import Link
from dataflows.connectors.vectors import COLUMNS, VectorOutbox, Vectors, as_commands, as_frame, vectors_of
from features.session import FEATURES
from infra.embedded import EmbeddedRedis
from observability import metrics
from tests.builders import A_MINUTE_MS, a_session, framed
from tests.dataflows.connectors.a_link import Client, link_to, looking_at
from tests.dataflows.running_flow import ListedFlow, raw_batch

AWKWARD = (1e-7, 1 / 3, 1e300, 0.1 + 0.2, 100_000.0, 5e-324, -0.0, 1e16, 2.0**53 + 2, 1.7976931348623157e308, math.pi)
TTL = 1_800


def vectors(*session_ids: str, first: float = 0.0, at_ms: int = A_MINUTE_MS) -> Vectors:
    """Return vectors of these sessions: each with the numbers from `first` on."""
    count = len(session_ids)
    matrix = np.tile(first + np.arange(len(FEATURES)), (count, 1))
    return Vectors(list(session_ids), matrix, np.full(count, 0.5), ["review"] * count, at_ms)


def frame(*session_ids: str, first: float = 0.0) -> pl.DataFrame:
    """Return the same as a frame."""
    return as_frame([vectors(*session_ids, first=first)])


def written() -> float:
    return metrics.REGISTRY.get_sample_value("fraud_vectors_written_total") or 0.0


def visible() -> dict[str, float]:
    """Return how many vectors became visible, and the seconds that they took in all."""
    name = "fraud_vector_visible_seconds"
    return {what: metrics.REGISTRY.get_sample_value(f"{name}_{what}") or 0.0 for what in ("count", "sum")}


class Answering(Link):
    """A link with no Redis behind it: it takes all sessions but one, or loses the connection at a call."""

    def __init__(self, refused: str = "", lost_at: int | None = None) -> None:
        """Have no connection."""
        self._refused = refused
        self._lost_at = lost_at
        self.calls = 0

    def send(self, packed: list[bytes], replies: int) -> list[object]:
        """Give two replies a hash."""
        if self.calls == self._lost_at:
            raise RedisConnectionError
        self.calls += 1
        keys = [part.split(b"\r\n")[1].decode() for part in b"".join(packed).split(b"HSET\r\n")[1:]]
        assert replies == 2 * len(keys)
        wrong = ResponseError("WRONGTYPE")
        return [reply for key in keys for reply in (wrong if key == f"session:{self._refused}" else 1, 1)]


def test_floats_come_back_equal_to_the_bit(link: Link, store: Client) -> None:
    values = [AWKWARD[at % len(AWKWARD)] for at in range(len(FEATURES))]
    awkward = frame("s-1").with_columns(
        [pl.lit(value).alias(name) for name, value in zip(FEATURES, values, strict=True)]
    )

    link.send([as_commands(awkward, TTL)], 2)

    read = store.hgetall("session:s-1")
    bits = [struct.pack("<d", float(read[name])) for name in FEATURES]
    assert bits == [struct.pack("<d", value) for value in values]


def test_random_floats_come_back_equal_to_the_bit(link: Link, store: Client) -> None:
    bits = np.random.default_rng(3).integers(0, 2**64, size=(200, len(FEATURES)), dtype=np.uint64)
    matrix = np.nan_to_num(bits.view(np.float64), nan=0.5, posinf=1e308, neginf=-1e308)
    random = frame(*(f"s-{row}" for row in range(200))).with_columns(
        [pl.Series(name, matrix[:, column]) for column, name in enumerate(FEATURES)]
    )

    link.send([as_commands(random, TTL)], 400)

    hashes = [store.hmget(f"session:s-{row}", FEATURES) for row in range(200)]
    assert np.array(hashes, dtype=np.float64).tobytes() == matrix.tobytes()


@pytest.mark.parametrize("session_id", ["ß-日本-\N{GRINNING FACE}", "a b\r\n$1\r\n", "{s}", "'\"\\", "s" * 128])
def test_any_session_id_makes_its_own_key_and_nothing_else(session_id: str, link: Link, store: Client) -> None:
    link.send([as_commands(frame(session_id, "s-2"), TTL)], 4)

    assert sorted(store.keys()) == sorted([f"session:{session_id}", "session:s-2"])
    assert store.hgetall(f"session:{session_id}") == store.hgetall("session:s-2")
    assert len(store.hgetall("session:s-2")) == len(COLUMNS) - 1


def test_a_repeated_write_does_not_prolong_a_hash(link: Link, store: Client) -> None:
    link.send([as_commands(frame("s-1"), TTL)], 2)
    store.expire("session:s-1", 100)

    link.send([as_commands(frame("s-1", first=7.0), TTL)], 2)

    assert 0 < store.ttl("session:s-1") <= 100
    assert store.hget("session:s-1", FEATURES[0]) == "7.0"


def test_a_new_hash_expires_after_the_session_ttl(link: Link, store: Client) -> None:
    link.send([as_commands(frame("s-1"), TTL)], 2)

    assert TTL - 5 < store.ttl("session:s-1") <= TTL


def test_the_newest_vector_of_each_session_is_taken_with_score_and_level(model_dir: Path, model_id: str) -> None:
    records = a_session(["login_failed"] * 9, session_id="bad") + a_session(["page_view"] * 3, session_id="good")
    flow = ListedFlow(model_dir, [("0", raw_batch([framed(record) for record in records], model_id))])
    run_main(flow.dataflow())  # type: ignore[no-untyped-call]
    [decided] = flow.decided(0)

    newest = as_frame([vectors_of(decided, 1_234)])

    matrix, score = decided.scored.features.rows.matrix, decided.scored.score
    assert tuple(newest.columns) == COLUMNS
    assert sorted(newest["session_id"].to_list()) == ["bad", "good"]
    for session_id, last in (("bad", 8), ("good", 11)):
        row = newest.row(by_predicate=pl.col("session_id") == session_id, named=True)
        assert [row[name] for name in FEATURES] == matrix[last].tolist()
        assert row["score"] == score[last]
        assert row["level"] == ("block" if score[last] > 0.95 else "review" if score[last] > 0.8 else "")
        assert row["updated_at"] == 1_234
    assert max(score) > 0.8


def test_of_several_vectors_of_a_session_the_last_is_written(link: Link, store: Client) -> None:
    outbox = VectorOutbox(TTL)
    outbox.put(vectors("s-1", "s-2", first=1.0))
    outbox.put(vectors("s-1", first=2.0))
    before = written()

    outbox.write_to(link)
    outbox.write_to(link)

    assert [store.hget(f"session:{name}", FEATURES[0]) for name in ("s-1", "s-2")] == ["2.0", "1.0"]
    assert written() - before == 2
    assert outbox.snapshot() == b""


def test_what_redis_acknowledged_tells_how_long_ago_each_vector_was_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector, "now_ms", lambda: A_MINUTE_MS)
    outbox = VectorOutbox(TTL)
    outbox.put(vectors("s-1", "s-2", at_ms=A_MINUTE_MS - 300))
    outbox.put(vectors("s-1", "s-3", at_ms=A_MINUTE_MS - 100))
    before = visible()

    outbox.write_to(Answering())

    assert visible()["count"] - before["count"] == 3
    assert visible()["sum"] - before["sum"] == pytest.approx(0.3 + 0.1 + 0.1)


def test_a_vector_that_redis_refused_is_not_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector, "now_ms", lambda: A_MINUTE_MS)
    outbox = VectorOutbox(TTL)
    outbox.put(vectors("s-1", at_ms=A_MINUTE_MS - 10))
    outbox.put(vectors("s-2", at_ms=A_MINUTE_MS - 1_000))
    before = visible()

    outbox.write_to(Answering(refused="s-2"))

    assert visible()["count"] - before["count"] == 1
    assert visible()["sum"] - before["sum"] == pytest.approx(0.01)


def test_a_chunk_that_redis_never_acknowledged_is_visible_only_when_it_is_written_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connector, "CHUNK_ROWS", 2)
    outbox = VectorOutbox(TTL)
    outbox.put(vectors("s-1", "s-2", "s-3"))
    before = visible()["count"]

    with pytest.raises(RedisConnectionError):
        outbox.write_to(Answering(lost_at=1))
    acknowledged = visible()["count"] - before
    outbox.write_to(Answering())

    assert acknowledged == 2
    assert visible()["count"] - before == 2 + 3


def test_thousands_go_in_one_write(link: Link, store: Client) -> None:
    outbox = VectorOutbox(TTL)
    outbox.put(vectors(*(f"s-{number}" for number in range(1_234))))

    outbox.write_to(link)

    assert store.dbsize() == 1_234


def test_a_key_of_another_type_is_counted_and_the_others_are_written(link: Link, store: Client) -> None:
    store.set("session:s-2", "somebody else's")
    outbox = VectorOutbox(TTL)
    outbox.put(vectors("s-1", "s-2", "s-3"))
    before = written()

    outbox.write_to(link)

    assert sorted(store.keys()) == ["session:s-1", "session:s-2", "session:s-3"]
    assert store.type("session:s-2") == "string"
    assert written() - before == 2
    assert outbox.snapshot() == b""


def test_what_redis_has_not_taken_is_in_the_snapshot_and_written_after_a_restart() -> None:
    with EmbeddedRedis() as server:
        with link_to(server.url) as link:
            outbox = VectorOutbox(TTL)
            outbox.put(vectors("s-1", "s-2"))
            server.kill()
            with pytest.raises(Exception, match=r"[Cc]onnection|closed"):
                outbox.write_to(link)
        outbox.put(vectors("s-1", first=9.0))
        restarted = VectorOutbox(TTL)

        restarted.restore(outbox.snapshot())
        server.start()
        with link_to(server.url) as link, looking_at(server.url) as client:
            restarted.write_to(link)

            assert [client.hget(f"session:{name}", FEATURES[0]) for name in ("s-1", "s-2")] == ["9.0", "0.0"]
    assert restarted.snapshot() == b""


def test_a_snapshot_gives_back_exactly_what_was_pending() -> None:
    outbox, restored = VectorOutbox(TTL), VectorOutbox(TTL)
    outbox.put(vectors("s-1", first=0.1 + 0.2))

    restored.restore(outbox.snapshot())

    assert_frame_equal(restored._merge(), outbox._merge(), check_exact=True)


def test_a_snapshot_of_other_features_is_used_as_far_as_it_goes(link: Link, store: Client) -> None:
    outbox = VectorOutbox(TTL)

    outbox.restore(_stored(frame("s-1").with_columns(pl.lit(1.0).alias("given_up"))))
    outbox.restore(_stored(frame("s-2").drop(FEATURES[5])))
    outbox.put(vectors("s-3"))
    outbox.write_to(link)

    assert sorted(store.keys()) == ["session:s-1", "session:s-3"]
    assert not store.hexists("session:s-1", "given_up")


def _stored(rows: pl.DataFrame) -> bytes:
    stored = io.BytesIO()
    rows.write_ipc(stored)
    return stored.getvalue()


def test_vectors_that_come_while_others_are_written_are_kept(link: Link, store: Client) -> None:
    outbox = VectorOutbox(TTL)
    outbox.put(vectors("s-1"))

    class Slow(Link):
        """Lets a vector and a snapshot in before the replies."""

        def __init__(self) -> None:
            """Have no connection of its own."""

        def send(self, packed: list[bytes], replies: int) -> list[object]:
            outbox.put(vectors("s-1", first=5.0))
            outbox.snapshot()
            return link.send(packed, replies)

    outbox.write_to(Slow())
    outbox.write_to(link)

    assert store.hget("session:s-1", FEATURES[0]) == "5.0"
    assert outbox.snapshot() == b""


def test_in_a_long_outage_no_more_waits_than_the_sessions_of_one_ttl() -> None:
    outbox = VectorOutbox(ttl_seconds=60)

    for second in range(300):
        outbox.put(vectors("always", f"s-{second}", first=float(second), at_ms=A_MINUTE_MS + 1_000 * second))

    waiting = outbox._merge()
    assert waiting["session_id"].to_list() == [*(f"s-{second}" for second in range(239, 299)), "always", "s-299"]
    assert waiting.filter(session_id="always")[FEATURES[0]].to_list() == [299.0]


def test_few_frames_wait_however_many_batches_come_without_a_snapshot() -> None:
    outbox = VectorOutbox(TTL)

    for number in range(1_000):
        outbox.put(vectors(f"s-{number % 7}"))

    assert len(outbox._new) < 100
    assert outbox._merged.height <= 7
