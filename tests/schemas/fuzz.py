"""Fuzz the decoder: `python -m tests.schemas.fuzz --inputs 20000 --seed 1`; a seed makes the same run again.

Valid frames are damaged, or random bytes made, and decoded in batches of all sizes; every batch must come out as a
plain record-at-a-time reader has it. The last line is one JSON object; exit 1 if anything escaped or differed.
"""

import argparse
import json
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from schemas.catalogue import EVENT
from schemas.codec import WriterSchema, decode
from tests.schemas.builders import NOW_MS, framed, outcome, plainly_decoded, some_events
from tests.schemas.test_hostile_bytes import EXTRA, SLOW, WIDE, damaged, repeated

DEFINITIONS = {1: EVENT.definition, 2: WIDE, 3: SLOW}
VALID = [
    *(framed(event) for event in some_events(200)),
    *(framed(event | EXTRA, 2, WIDE) for event in some_events(100)),
    *(framed(event | {"tags": {"a": "b"}}, 3, SLOW) for event in some_events(50)),
]
BATCH_SIZES = (1, 2, 31, 33, 100, 400)
WARM_UP = 0.3
"""Which share of the inputs is over before memory is looked at."""

_PAGE_MIB = resource.getpagesize() / 2**20
_STRANGE = (
    b"\x00",
    b"\x01",
    b"\x7f",
    b"\xff",
    b"\x80" * 10,
    b"\xff" * 9 + b"\x01",
    b"\xfe" + b"\xff" * 8 + b"\x01",
    b"\x80\x80\x80\x80\x40",
    b"\xed\xa0\x80",
    b"\x00" * 300,
)
"""Bytes that mean something: ends of integers' ranges, lengths beyond all memory, broken text."""

Dice = random.Random
Damage = Callable[[Dice, bytes], bytes | None]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run found: the last line.

    Attributes:
        uncaught: Calls that raised.
        different: Calls whose rows, reasons or values are not those of the plain reader.
        rejected: Inputs that became rejects: a run in which few did has shown nothing.
        rss_growth_mib: How much more memory the process has at the end than after the warm-up.
        max_ms: Slowest call after the warm-up, by input, in processor time: other processes do not count.
    """

    seed: int
    inputs: int
    uncaught: int
    different: int
    rejected: int
    rss_growth_mib: float
    max_ms: float


def _flipped(dice: Dice, value: bytes) -> bytes:
    at = dice.randrange(len(value))
    return value[:at] + bytes([value[at] ^ 1 << dice.randrange(8)]) + value[at + 1 :]


def _spliced(dice: Dice, value: bytes) -> bytes:
    other = dice.choice(VALID)
    return value[: dice.randrange(len(value) + 1)] + other[dice.randrange(len(other)) :]


def _wrong_frame(dice: Dice, value: bytes) -> bytes | None:
    return dice.choice([None, b"", value[: dice.randrange(6)], dice.randbytes(5) + value[5:], value + bytes(70_000)])


DAMAGES: tuple[Damage, ...] = (
    lambda _, value: value,
    _flipped,
    lambda dice, value: _flipped(dice, _flipped(dice, value)),
    lambda dice, value: damaged(value, dice.randrange(300), dice.choice([0, 1, 2, 5, 40]), dice.choice(_STRANGE)),
    lambda dice, value: damaged(value, dice.randrange(300), dice.randrange(4), dice.randbytes(dice.randrange(8))),
    lambda dice, value: repeated(value, dice.randrange(300), dice.randrange(1, 40)),
    lambda dice, value: value[: dice.randrange(len(value))],
    lambda dice, value: value + dice.randbytes(dice.randrange(1, 9)),
    _spliced,
    _wrong_frame,
    lambda dice, value: value[:5] + dice.randbytes(dice.randrange(200)),
    lambda dice, _: dice.randbytes(dice.randrange(100)),
)


def batches(dice: Dice, inputs: int) -> Iterator[list[bytes | None]]:
    """Yield so many inputs in batches; some batches are good but for one or two records, as in life."""
    left = inputs
    while left > 0:
        size = min(dice.choice(BATCH_SIZES), left)
        share = dice.choice([0.02, 0.3, 1.0])
        values = (dice.choice(VALID) for _ in range(size))
        yield [dice.choice(DAMAGES)(dice, value) if dice.random() < share else value for value in values]
        left -= size


def fuzz(seed: int, inputs: int) -> Summary:
    """Decode so many inputs, and compare."""
    writers = {schema_id: WriterSchema.from_definition(it) for schema_id, it in DEFINITIONS.items()}
    seen, uncaught, different, rejected, slowest, warm_mib = 0, 0, 0, 0, 0.0, 0.0
    for values in batches(random.Random(seed), inputs):
        start = time.process_time()
        try:
            result = decode(values, np.full(len(values), NOW_MS), writers)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - Polars' panics are no Exceptions
            uncaught += 1
            sys.stderr.write(f"seed {seed}, inputs from {seen} on: {type(error).__name__}\n")
        else:
            seconds = (time.process_time() - start) / len(values)
            slowest = max(slowest, seconds) if warm_mib else 0.0
            rejected += len(result.rejects)
            if outcome(result) != plainly_decoded(values, DEFINITIONS):
                different += 1
                sys.stderr.write(f"seed {seed}, inputs from {seen} on: not as the plain reader\n")
        seen += len(values)
        if not warm_mib and seen >= WARM_UP * inputs:
            warm_mib = _rss_mib()
    growth = round(_rss_mib() - warm_mib, 1)
    return Summary(seed, seen, uncaught, different, rejected, growth, round(slowest * 1000, 3))


def _rss_mib() -> float:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_MIB


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.schemas.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, printed")
    arguments = parser.parse_args(argv)
    seed = random.SystemRandom().randrange(2**32) if arguments.seed is None else arguments.seed
    sys.stdout.write(f"seed {seed}\n")
    sys.stdout.flush()
    summary = fuzz(seed, arguments.inputs)
    sys.stdout.write(json.dumps(asdict(summary)) + "\n")
    return 1 if summary.uncaught or summary.different else 0


if __name__ == "__main__":
    sys.exit(main())
