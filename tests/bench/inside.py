"""From a poll to its flags inside the process: the flow on its engine against the plain loop, in turns, no servers.

Only the ratio says something on a machine that others use. A poll is handed on when the one before it has its flags.
`python -m tests.bench.inside` measures it alone, and fails where the ratio is above what is allowed.
"""

import json
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from dataflows.flags import FlagMessages
from dataflows.fraud import Ends, build
from dataflows.items import DecidedBatch, RawBatch
from dataflows.service import Service
from dataflows.warm_up import warm_up
from tests.bench.expected import WrongResultError
from tests.bench.models import current, reference_model
from tests.bench.plain_loop import PlainWork
from tests.bench.quantiles import summary
from tests.bench.work import KEY, Events, Work, make
from tests.bench.world import Figures
from tests.dataflows.running_flow import raw_batch, settings_for

PARTITIONS = 4
POLLS = {16: 400, 400: 100}
"""How many polls, by their events: some 2,000 and 40,000 a second where a poll is taken every 8 or 10 ms."""

MOST = {16: 4.0, 400: 2.0}
"""What the ratio may be at most: twice what a busy machine gave."""

Poll = list[tuple[str, RawBatch]]
_WARM = 20


@dataclass(slots=True)
class Loop:
    """Hands polls on, each when the flags of the one before are made, and notes how long that took."""

    polls: Sequence[Poll]
    messages: FlagMessages
    between: Callable[[int], None]
    """Called before each poll, with its number: the yardstick's turn."""
    delays_ms: list[float] = field(default_factory=list)
    flags: int = 0
    _left: int = 0
    _began: float = 0.0

    def next(self) -> Poll:
        """Hand on the next poll; nothing while one is on its way.

        Raises:
            StopIteration: After the last one.
        """
        if self._left:
            return []
        if len(self.delays_ms) == len(self.polls):
            raise StopIteration
        poll = self.polls[len(self.delays_ms)]
        self.between(len(self.delays_ms))
        self._left, self._began = len(poll), time.perf_counter()
        return poll

    def take(self, decided: DecidedBatch) -> None:
        """Make the flags of a batch; the last one ends its poll."""
        self.flags += len(list(self.messages(decided)))
        self._left -= 1
        if not self._left:
            self.delays_ms.append((time.perf_counter() - self._began) * 1000)


@dataclass(frozen=True, slots=True)
class _Source(DynamicSource[Any]):
    loop: Loop

    def build(self, _step_id: str, _worker_index: int, _worker_count: int) -> "_SourcePart":
        return _SourcePart(self.loop)


@dataclass(frozen=True, slots=True)
class _SourcePart(StatelessSourcePartition[Any]):
    loop: Loop

    def next_batch(self) -> Poll:
        return self.loop.next()


@dataclass(frozen=True, slots=True)
class _Sink(DynamicSink[Any], StatelessSinkPartition[Any]):
    """Where an output ends, for every worker alike."""

    take: Callable[[Any], None]

    def build(self, _step_id: str, _worker_index: int, _worker_count: int) -> Self:
        return self

    def write_batch(self, items: list[Any]) -> None:
        for _, item in items:
            self.take(item)


def polls_of(events: Events, size: int, count: int, model_id: str) -> list[Poll]:
    """Cut events into polls: a batch of each partition that has one, its key the session's."""
    offsets = [0] * PARTITIONS
    polls = []
    for start in range(0, size * count, size):
        by_partition: dict[int, list[bytes]] = {}
        for at in range(start, start + size):
            value = events[at]
            by_partition.setdefault(zlib.crc32(value[KEY]) % PARTITIONS, []).append(value)
        poll = []
        for partition, values in sorted(by_partition.items()):
            batch = raw_batch(
                values,
                model_id,
                partition=partition,
                first_offset=offsets[partition],
                keys=[value[KEY] for value in values],
            )
            poll.append((str(partition), batch))
            offsets[partition] += len(values)
        polls.append(poll)
    return polls


def measure(model_dir: Path, size: int, count: int, live: int = 2_000) -> Figures:
    """Compare the flow with the plain loop over polls of some size.

    Args:
        model_dir: Whose current model scores.
        size: Events of a poll.
        count: Polls.
        live: Sessions at a time.

    Raises:
        WrongResultError: If they do not raise as many flags.
    """
    service = Service(settings_for(model_dir))
    model_id = service.deployed().model_id
    warm_up(service.models.open(model_id))
    events = make(Work(size * count, live, probes=0.01))
    plain, plain_ms, plain_flags = PlainWork(current(model_dir)), [], 0

    def plain_turn(number: int) -> None:
        nonlocal plain_flags
        values = [events[at] for at in range(number * size, (number + 1) * size)]
        began = time.perf_counter()
        done = plain(values)
        plain_ms.append((time.perf_counter() - began) * 1000)
        plain_flags += len(done.flags)

    loop = Loop(polls_of(events, size, count, model_id), FlagMessages(service), plain_turn)
    nowhere = _Sink(lambda _: None)
    ends = Ends(_Source(loop), nowhere, nowhere, _Sink(loop.take), nowhere)
    with threadpool_limits(1):  # more threads for the plain loop's trees only wait for each other
        run_main(build(service, ends), epoch_interval=timedelta(minutes=5))
    if loop.flags != plain_flags:
        msg = f"polls of {size}: expected {plain_flags} flags, got {loop.flags}"
        raise WrongResultError(msg)
    ours, theirs = summary(loop.delays_ms[_WARM:]), summary(plain_ms[_WARM:])
    return {
        "events_a_poll": size,
        "unit": "ms",
        "flags": loop.flags,
        **{name: ours[name] for name in ("p50", "p99")},
        **{f"plain_{name}": theirs[name] for name in ("p50", "p99")},
        "ratio_to_plain_loop": round((ours["p50"] or 0.0) / (theirs["p50"] or 1.0), 2),
    }


def scenario(model_dir: Path) -> Iterator[Figures]:
    """Measure small polls and large ones."""
    for size, count in POLLS.items():
        yield {"scenario": f"receive_to_flag_{size}", **measure(model_dir, size, count)}


def main() -> int:
    """Measure it; return 0 only if no ratio is above what is allowed."""
    is_good = True
    for figures in scenario(reference_model(Path("var/bench"))):
        sys.stdout.write(f"{json.dumps(figures)}\n")
        most = MOST[figures["events_a_poll"]]
        if figures["ratio_to_plain_loop"] > most:
            sys.stdout.write(f"TOO SLOW: {figures['scenario']}: ratio_to_plain_loop must be at most {most}\n")
            is_good = False
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
