"""The faults: each does one bad thing to the service under load, sees that it really happened, and ends it.

After a fault the service runs again, or still; that it is exact then is judged elsewhere. The registry at the end names
every fault with a sentence.
"""

import resource
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.embedded import EmbeddedKafka
from infra.kafka_cluster import BROKERS, RealKafkaCluster
from infra.real_kafka import RealKafka
from infra.server_process import is_listening
from tests.crash import redis_faults
from tests.crash.flow_process import FlowProcess
from tests.crash.registry_stub import RegistryStub, as_known_version, as_later_version, partition_of
from tests.crash.scene import EVENTS, PARTITIONS, Scene
from tests.crash.stream import Keyed

_FROM, _TO = 0.05, 0.9
"""Between which shares of the load faults strike."""


def _moments(scene: Scene, count: int) -> Iterator[int]:
    """Wait for one random point of progress after the other; the load never runs away to the next one meanwhile."""
    part = (_TO - _FROM) / count
    for number in range(count):
        moment = _FROM + part * (number + scene.dice.uniform(0, 0.6))
        scene.load.limit = int((moment + 0.2 * part) * scene.load.count)
        scene.until(moment)
        yield number
    scene.load.limit = scene.load.count


def _kill_and_start(scene: Scene) -> None:
    scene.kill_flow()
    scene.start_flow()


def kill(scene: Scene) -> None:
    """Kill -9 at random points of progress, some of them while it is starting."""
    for number in _moments(scene, scene.options.kills):
        if number and scene.dice.random() < 0.2:
            time.sleep(scene.dice.uniform(0, 3))
        else:
            scene.wait_working()
            time.sleep(scene.dice.uniform(0, 1.5))
        _kill_and_start(scene)
    scene.wait_working()


def one_of_three_brokers_killed(scene: Scene) -> None:
    """Kill -9 of the service again and again, and of one broker of three in mid-run; that one comes back later."""
    cluster = scene.of(RealKafkaCluster)
    middle = scene.options.kills // 2
    for number in _moments(scene, scene.options.kills):
        scene.wait_working()
        if number == middle:
            partition = scene.dice.randrange(PARTITIONS)
            answers = (cluster.leader(EVENTS, partition) for _ in range(10))
            lost = next(leader for leader in answers if leader in BROKERS)
            cluster.kill(lost)
            scene.no_epoch_ends_since_ms = time.time_ns() // 1_000_000
            scene.must(not cluster.is_running(lost), "the broker lives")
        if number == middle + 1:
            cluster.start(lost)
        time.sleep(scene.dice.uniform(0, 1.0))
        _kill_and_start(scene)
        scene.no_epoch_ends_since_ms = None
    scene.wait_working()
    scene.must(all(map(cluster.is_running, BROKERS)), "a broker is missing")


def kill_with_keys(scene: Scene) -> None:
    """Kill -9 at random points while Redis knows devices and users, at a calm pace: no look-up may fail."""
    kill(scene)


def kill_in_snapshot(scene: Scene) -> None:
    """Kill -9 the moment that the recovery store's log changes."""
    log = scene.store / "part-0.sqlite3-wal"
    for _ in _moments(scene, scene.options.kills):
        scene.wait_working()
        before = _state_of(log)
        until = time.monotonic() + 20
        while (now := _state_of(log)) == before:
            scene.must(time.monotonic() < until, "no snapshot was written")
        scene.must(now, "the recovery store has no log")
        time.sleep(scene.dice.choice((0, 0.001, 0.005, 0.02)))
        _kill_and_start(scene)
    scene.wait_working()


def _state_of(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def pause(scene: Scene) -> None:
    """SIGSTOP for some seconds, SIGCONT."""
    for moment in (0.2, 0.6):
        scene.until(moment)
        scene.wait_working()
        scene.flow.send(signal.SIGSTOP)
        scene.wait(lambda: _is_stopped(scene.flow.pid))
        before = scene.load.sent
        time.sleep(30 if scene.options.long else 4)
        scene.must(not scene.flow.samples(), "it answered while it was stopped")
        scene.must(scene.load.sent > before, "there was no load while it was stopped")
        scene.flow.send(signal.SIGCONT)


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def sigterm(scene: Scene) -> None:
    """SIGTERM under load, several times: it drains, and nothing comes twice."""
    for _ in _moments(scene, scene.options.kills):
        scene.wait_working()
        scene.must(not scene.load.is_over, "the load was over")
        scene.flow.drain()
        scene.start_flow()


def sink_broker_down(scene: Scene) -> None:
    """The broker refuses all connections for some seconds, for source and sink alike; its data stays."""
    scene.until(0.3)
    scene.wait_working()
    port = int(scene.bootstrap.rpartition(":")[2])
    if isinstance(scene.kafka, EmbeddedKafka):
        scene.kafka.broker_down()
    else:
        scene.of(RealKafka).kill()
    scene.wait(lambda: not is_listening(port))
    time.sleep(60 if scene.options.long else 6)
    scene.must(scene.flow.is_running, "the service did not live through it")
    scene.must(not scene.flow.is_ready(), "it said that it is ready while the broker was down")
    if isinstance(scene.kafka, EmbeddedKafka):
        scene.kafka.broker_up()
    else:
        scene.of(RealKafka).start()
    scene.flow.wait_for(scene.flow.is_ready)


def source_broker_down(scene: Scene) -> None:
    """The broker answers every request for records with an error for some seconds."""
    kafka = scene.of(EmbeddedKafka)
    scene.until(0.3)
    scene.wait_working()
    kafka.fail_requests(_FETCH, [_NOT_LEADER, _TIMED_OUT] * 5_000)
    scene.flow.wait_for(lambda: _is_starving(scene.flow, 1.0))
    time.sleep(4)
    scene.must(_is_starving(scene.flow, 1.0), "it went on reading")
    kafka.fail_requests(_FETCH, [])


_FETCH, _NOT_LEADER, _TIMED_OUT = 1, 6, 7


def _is_starving(flow: FlowProcess, seconds: float) -> bool:
    before = flow.scored()
    time.sleep(seconds)
    return flow.scored() == before


def registry_down(scene: Scene) -> None:
    """The registry goes away before a new schema id comes on one partition: that one waits, the others go on."""
    registry, held = scene.of(RegistryStub), 0
    scene.until(0.3)
    scene.wait_working()
    registry.stop()
    scene.must(not registry.is_up, "the registry still answers")
    rewritten = []

    def rewrite(keyed: Keyed) -> Keyed:
        if partition_of(keyed[0], PARTITIONS) != held:
            return keyed[0], as_known_version(keyed[1])
        rewritten.append(keyed[0])
        return keyed[0], as_later_version(keyed[1])

    scene.load.rewrite = rewrite
    scene.flow.wait_for(lambda: scene.flow.samples().get(f'fraud_partition_held{{partition="{held}"}}'))
    time.sleep(1)  # what was read before it comes to its end
    before = scene.flow.records()
    scene.flow.wait_for(lambda: _others_went_on(scene.flow, before, held))
    time.sleep(2)
    scene.must(scene.flow.records()[str(held)] == before[str(held)], "the partition did not wait")
    registry.start()
    scene.flow.wait_for(lambda: scene.flow.records()[str(held)]["scored"] > before[str(held)]["scored"])
    scene.must(len(rewritten) > 100, "hardly a record had the new schema")


def _others_went_on(flow: FlowProcess, before: dict[str, dict[str, int]], held: int) -> bool:
    now = flow.records()
    return all(now[p]["scored"] > before[p]["scored"] for p in before if p != str(held))


def disk_full(scene: Scene) -> None:
    """The recovery store cannot grow any more: the service stops with an error, and goes on once there is room."""
    scene.until(0.3)
    scene.wait_working()
    resource.prlimit(scene.flow.pid, resource.RLIMIT_FSIZE, (_SMALL_DISK, _SMALL_DISK))
    now_ms = time.time_ns() // 1_000_000
    status = scene.flow.wait(30)
    scene.must(status not in (0, -signal.SIGKILL), f"expected an error, the service ended with {status}")
    scene.notes["said"] = scene.flow.log_tail().splitlines()[-1][:200]
    scene.note_kill(now_ms)
    scene.note_kill(time.time_ns() // 1_000_000)
    scene.start_flow()
    scene.wait_working()


_SMALL_DISK = 256 * 1024


def two_processes(scene: Scene) -> None:
    """A second process on the same recovery store is refused, and harms nothing."""
    scene.until(0.3)
    scene.wait_working()
    log_file = scene.folder / "second.log"
    second = FlowProcess(scene.env, scene.store, log_file)
    try:
        status = second.wait(60)
    finally:
        second.discard()
    scene.must(status != 0, "the second process was let in")
    scene.must("another process uses it" in log_file.read_text(), f"it said something else: {second.log_tail()}")
    scene.must(scene.flow.is_running, "the first process did not live through it")


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault and what it needs."""

    act: Callable[[Scene], None]
    needs: tuple[str, ...] = ()
    """As for `Scene`."""
    kafka: str = "embedded"
    """What it runs on when nobody says otherwise, as in `Options`."""

    @property
    def sentence(self) -> str:
        """What it does."""
        return (self.act.__doc__ or "").splitlines()[0]


FAULTS: dict[str, Fault] = {
    "kill": Fault(kill),
    "one_of_three_brokers_killed": Fault(one_of_three_brokers_killed, kafka="cluster"),
    "kill_with_keys": Fault(kill_with_keys, needs=("keys",)),
    "kill_in_snapshot": Fault(kill_in_snapshot),
    "pause": Fault(pause),
    "sigterm": Fault(sigterm),
    "sink_broker_down": Fault(sink_broker_down),
    "source_broker_down": Fault(source_broker_down),
    "redis_killed": Fault(redis_faults.redis_killed),
    "redis_hung": Fault(redis_faults.redis_hung),
    "redis_slow": Fault(redis_faults.redis_slow, needs=("proxy",)),
    "redis_loading": Fault(redis_faults.redis_loading, needs=("proxy",)),
    "redis_readonly": Fault(redis_faults.redis_readonly),
    "redis_flushed": Fault(redis_faults.redis_flushed),
    "registry_down": Fault(registry_down, needs=("registry",)),
    "disk_full": Fault(disk_full),
    "two_processes": Fault(two_processes),
}
