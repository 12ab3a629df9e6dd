"""Faults of Redis: gone, hung, slow, loading, read-only, emptied. Scoring goes on, and what Redis holds ends exact."""

import os
import signal
import time

import redis
from redis.exceptions import BusyLoadingError, ReadOnlyError

from infra.server_process import is_listening
from tests.crash.checker import Since
from tests.crash.flow_process import SCORED, FlowError, Samples, p95_ms
from tests.crash.redis_proxy import RedisProxy
from tests.crash.scene import NO_RETRY, Scene

LATENESS_MS = 3_600_000
MINUTE_MS = 60_000


def _begin(scene: Scene) -> Samples:
    """Wait for the moment to begin; return what the service says then."""
    scene.until(0.15)
    scene.wait_working()
    earlier = scene.flow.samples()
    scene.until(0.3)
    now = scene.flow.samples()
    scene.notes["p95_before_ms"] = p95_ms(earlier, now)
    return now


def _went_on(scene: Scene, before: Samples) -> None:
    """See that scoring went on without Redis, and note how fast."""
    now = scene.flow.samples()
    scene.must(now.get(SCORED, 0) > before[SCORED] + 100, "the service did not go on scoring")
    scene.must(not scene.load.is_over, "the load was over before the fault was")
    scene.p95_ms = p95_ms(before, now)


def _seconds(scene: Scene) -> float:
    return 60 if scene.options.long else 5


def _note_loss(scene: Scene) -> None:
    """Note what Redis must have again at the end: it has just lost everything."""
    samples, records = scene.flow.samples(), scene.flow.records()
    watermarks = [
        int(value * 1000) for name, value in samples.items() if name.startswith("fraud_watermark_timestamp_seconds{")
    ]
    scene.since = Since(
        minute_ms=(max(watermarks) - LATENESS_MS) // MINUTE_MS * MINUTE_MS + MINUTE_MS,
        offsets={int(partition): counts["consumed"] for partition, counts in records.items()},
    )


def redis_killed(scene: Scene) -> None:
    """Redis is killed and comes back empty some seconds later."""
    before = _begin(scene)
    scene.redis.kill()
    scene.must(not is_listening(scene.redis.port), "Redis still listens")
    _note_loss(scene)
    time.sleep(_seconds(scene))
    _went_on(scene, before)
    scene.redis.start()


def redis_hung(scene: Scene) -> None:
    """Redis accepts connections and answers nothing for some seconds."""
    before = _begin(scene)
    os.kill(scene.redis.pid, signal.SIGSTOP)
    try:
        scene.must(not _answers(scene), "Redis still answers")
        time.sleep(_seconds(scene))
        _went_on(scene, before)
    finally:
        os.kill(scene.redis.pid, signal.SIGCONT)
    scene.must(_answers(scene), "Redis does not answer again")


def _answers(scene: Scene) -> bool:
    with scene.client() as client:
        try:
            return bool(client.ping())
        except redis.TimeoutError:
            return False


def redis_slow(scene: Scene) -> None:
    """Every answer of Redis takes 200 ms for some seconds."""
    before, proxy = _begin(scene), scene.of(RedisProxy)
    proxy.delay_seconds = 0.2
    start = time.monotonic()
    with redis.Redis(port=proxy.port) as client:
        client.ping()
    scene.must(time.monotonic() - start > 0.2, "Redis was not slow")
    time.sleep(_seconds(scene))
    _went_on(scene, before)
    proxy.delay_seconds = 0.0


def redis_loading(scene: Scene) -> None:
    """Redis answers every command with LOADING for some seconds."""
    before, proxy = _begin(scene), scene.of(RedisProxy)
    proxy.answer = b"-LOADING Redis is loading the dataset in memory\r\n"
    with redis.Redis(port=proxy.port, retry=NO_RETRY) as client:
        try:
            client.get("x")
            raise FlowError("Redis was not loading")
        except BusyLoadingError:
            pass
    answered = proxy.answered
    time.sleep(_seconds(scene))
    scene.must(proxy.answered > answered + 3, "the service did not ask")
    _went_on(scene, before)
    proxy.answer = None


def redis_readonly(scene: Scene) -> None:
    """Redis becomes a replica that takes no writes for some seconds, as after a failover."""
    before = _begin(scene)
    with scene.client() as client:
        client.replicaof("127.0.0.1", "1")
        try:
            client.set("x", "y")
            raise FlowError("Redis took a write")
        except ReadOnlyError:
            pass
        time.sleep(_seconds(scene))
        _went_on(scene, before)
        client.replicaof("NO", "ONE")


def redis_flushed(scene: Scene) -> None:
    """Redis loses everything and its connections, and is back at once."""
    _begin(scene)
    with scene.client() as client:
        keys = client.dbsize()
        scene.must(keys > 100, f"Redis held only {keys} keys")
        pipeline = client.pipeline(transaction=True)
        pipeline.flushall().dbsize()
        scene.must(pipeline.execute()[1] == 0, "Redis was not emptied")
        killed = client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        scene.must(killed > 0, "the service had no connection")
    _note_loss(scene)
