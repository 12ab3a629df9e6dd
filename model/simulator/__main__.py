"""`python -m model.simulator --out DIR`: some weeks of the simulated bank as events.parquet and labels.csv."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from model.command_line import argument_parser, number, refuse, say, whole
from model.simulated import START_MS
from model.simulator import SimulatorConfig, another_world, history
from schemas.events import with_type_names

PROG = "python -m model.simulator"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Of the command line, None for the process's own.

    Returns:
        The exit code: 0, or 2 where nothing can be written.
    """
    default = SimulatorConfig()
    parser = argument_parser(PROG, "Write some weeks of the simulated bank, with labels of its attacks.")
    add = parser.add_argument
    add("--out", type=Path, required=True, help="directory for events.parquet and labels.csv")
    add("--seed", type=whole(0), default=7, help="of everything random")
    add("--days", type=whole(1, 365), default=45, help="how long")
    add("--world", type=whole(0), default=0, help="other attack parameters, habits and drift; 0 is the default bank")
    add("--customers", type=whole(2, 1_000_000), default=default.customers, help="of the bank")
    add("--difficulty", type=number(0, 1), default=default.difficulty, help="how well attackers disguise themselves")
    add("--attack-share", type=number(0, 0.5), default=default.attack_share, help="sessions that are attacked")
    add("--drift", type=number(0, 10), default=default.drift, help="how quickly habits change, as a factor")
    given = parser.parse_args(arguments)
    config = replace(
        default,
        customers=given.customers,
        difficulty=given.difficulty,
        attack_share=given.attack_share,
        drift=given.drift,
    )
    events, labels = history(another_world(config, given.world), given.seed, given.days, START_MS)
    try:
        given.out.mkdir(parents=True, exist_ok=True)
        with_type_names(events.drop("row")).write_parquet(given.out / "events.parquet")
        labels.write_csv(given.out / "labels.csv")
    except OSError as error:
        return refuse(PROG, error)
    say(json.dumps({"events": events.height, "sessions": events["session_id"].n_unique(), "attacks": labels.height}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
