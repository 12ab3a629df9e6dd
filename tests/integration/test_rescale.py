"""Lanes and clusters: as many processes as one likes, changed in mid-stream by a kill, and still exact."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dataflows.ending import StartError
from dataflows.rescale import RescaleError, main, rescale
from infra.embedded import EmbeddedKafka, EmbeddedRedis
from infra.server_process import free_port
from model.artifacts import ArtifactShelf
from model.scorer import Scorer
from schemas import catalogue
from tests.service import Expected, RunningService, Setting, counts_in, stream, vectors_in

ENDS = ("scored", "dead", "late", "duplicate")


@pytest.fixture
def setting(
    embedded_kafka: EmbeddedKafka,
    empty_redis: EmbeddedRedis,
    new_topics: Callable[..., list[str]],
    model_dir: Path,
    tmp_path: Path,
) -> Setting:
    topics = new_topics("events", "flags", "letters", partitions=4)
    return Setting(embedded_kafka, empty_redis.url, topics, model_dir, tmp_path)


def a_store(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True)
    subprocess.run([sys.executable, "-m", "bytewax.recovery", str(folder), "1"], check=True)  # noqa: S603
    return folder


def ended(services: list[RunningService]) -> float:
    return sum(service.records(end) for service in services for end in ENDS)


def wait_for(services: list[RunningService], count: float) -> None:
    services[0].wait_for(lambda: ended(services) >= count)
    for service in services:
        assert service.process.poll() is None, service.log.read_text()[-3_000:]


def lanes_running(setting: Setting, stack: ExitStack, stores: list[Path]) -> list[RunningService]:
    services = []
    for lane, store in enumerate(stores):
        setting.store = store
        services.append(stack.enter_context(setting.running(LANE=str(lane), LANES=str(len(stores)))))
    return services


def assert_exact(setting: Setting, model_dir: Path, model_id: str) -> None:
    expected = Expected(setting, Scorer(ArtifactShelf(model_dir).load(model_id)))
    flags = [catalogue.read(catalogue.FLAG, message.value() or b"") for message in setting.read(setting.flags)]
    assert len(expected.flags) > 50
    assert {(flag["flag_id"], flag["offset"]) for flag in flags} == expected.flags
    assert counts_in(setting.redis) == dict(expected.counts)
    assert vectors_in(setting.redis) == expected.vectors


def test_lanes_go_from_4_to_2_to_3_in_mid_stream_and_nothing_changes(
    setting: Setting, model_dir: Path, model_id: str, tmp_path: Path
) -> None:
    records = stream()
    stores = [a_store(tmp_path / "four" / f"lane-{lane}") for lane in range(4)]
    produced = 0
    for upto, lanes in ((2_400, 2), (4_800, 3), (len(records), 0)):
        setting.produce(records[produced:upto])
        with ExitStack() as stack:
            services = lanes_running(setting, stack, stores)
            wait_for(services, produced + (upto - produced) * (0.5 if lanes else 1))
            end = signal.SIGKILL if lanes else signal.SIGTERM
            codes = [service.stop(end) for service in services]
        produced = upto
        if lanes:
            rescale(stores, tmp_path / f"to-{lanes}", lanes)
            stores = [tmp_path / f"to-{lanes}" / f"lane-{lane}" for lane in range(lanes)]

    assert codes == [0] * len(codes)
    assert_exact(setting, model_dir, model_id)


class Cluster:
    """The flow as the engine's own cluster: some processes, some workers each, one store."""

    def __init__(self, setting: Setting, processes: int, workers: int) -> None:
        addresses = ";".join(f"127.0.0.1:{free_port()}" for _ in range(processes))
        self.services = []
        for number in range(processes):
            env = {**setting.env, "WHOLE_SNAPSHOTS": "1", "BYTEWAX_WORKERS_PER_PROCESS": str(workers)}
            if processes > 1:
                env |= {"BYTEWAX_PROCESS_ID": str(number), "BYTEWAX_ADDRESSES": addresses}
            self.services.append(RunningService(env, setting.store, setting.log))

    def stop(self, number: int) -> None:
        for service in self.services:
            service.process.send_signal(number)
        for service in self.services:
            service.process.wait(timeout=20)


@pytest.fixture
def clusters(setting: Setting) -> Iterator[Callable[[int, int], Cluster]]:
    made: list[Cluster] = []

    def make(processes: int, workers: int) -> Cluster:
        made.append(Cluster(setting, processes, workers))
        return made[-1]

    yield make
    for cluster in made:
        for service in cluster.services:
            service.process.kill()
            service.process.wait()


def test_the_engines_own_cluster_goes_from_1_to_2_workers_to_2_processes_to_1_and_nothing_changes(
    setting: Setting, clusters: Callable[[int, int], Cluster], model_dir: Path, model_id: str
) -> None:
    records = stream()
    produced = 0
    for upto, processes, workers in ((2_000, 1, 1), (4_000, 1, 2), (5_500, 2, 1), (len(records), 1, 1)):
        setting.produce(records[produced:upto])
        cluster = clusters(processes, workers)
        is_last = upto == len(records)
        wait_for(cluster.services, len(records) if is_last else produced + (upto - produced) / 2)
        cluster.stop(signal.SIGTERM if is_last else signal.SIGKILL)
        produced = upto

    assert [service.process.returncode for service in cluster.services] == [0]
    assert_exact(setting, model_dir, model_id)


def test_a_store_whose_state_was_moved_is_refused(setting: Setting, tmp_path: Path) -> None:
    rescale([setting.store], tmp_path / "new", 2)

    with setting.running() as service:
        assert service.process.wait(timeout=20) != 0

    assert "its state was moved to" in setting.log.read_text().splitlines()[-1]


def test_a_store_in_use_is_not_moved(setting: Setting, tmp_path: Path) -> None:
    with setting.running() as service:
        service.wait_for(lambda: bool(service.samples("fraud_redis_up")))
        with pytest.raises(StartError, match="another process uses it"):
            rescale([setting.store], tmp_path / "new", 2)

    assert not (tmp_path / "new").exists()


def test_two_stores_with_state_of_one_partition_are_refused(setting: Setting, tmp_path: Path) -> None:
    setting.produce(stream()[:50])
    with setting.running() as service:
        service.wait_for_all(50)
        service.stop(signal.SIGTERM)
    copy = tmp_path / "copy"
    shutil.copytree(setting.store, copy)
    copy.chmod(0o700)

    with pytest.raises(RescaleError, match="both have state of it"):
        rescale([setting.store, copy], tmp_path / "new", 2)


def test_bad_arguments_and_missing_stores_are_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = main([str(tmp_path), "--to", str(tmp_path / "new"), "--lanes", "2"])

    assert code == 1
    assert capfd.readouterr().err.startswith("rescale: recovery store")
    with pytest.raises(SystemExit) as ended_with:
        main([str(tmp_path), "--to", "x", "--lanes", "none"])
    assert ended_with.value.code == 2
