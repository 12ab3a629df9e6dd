"""The weeks before a demo: what is normal for the simulated customers goes to Redis, as a bank would load its own.

`python -m dataflows.demo.past --customers N --attack-share X --seed S`, for the same bank as `dataflows.simulate`.
"""

import argparse
import os
import sys
import time
from dataclasses import replace

import redis

from dataflows.load_profiles import write_profiles
from dataflows.settings import Settings
from model.profiles import profiles_after
from model.simulator import SimulatorConfig, history
from model.simulator.customers import DAY_MS
from model.simulator.stream import BEGINS_MS


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m dataflows.demo.past")
    for name, kind in (("--customers", int), ("--attack-share", float), ("--seed", int)):
        parser.add_argument(name, type=kind, required=True)
    given = parser.parse_args()
    config = replace(SimulatorConfig(), customers=given.customers, attack_share=given.attack_share)
    start_ms = time.time_ns() // 1_000_000 - BEGINS_MS
    events, labels = history(config, given.seed, BEGINS_MS / DAY_MS, start_ms)
    users, profiles = profiles_after(events, labels.select("session_id", "known_at"))
    with redis.Redis.from_url(Settings.from_env(os.environ).redis_url) as client:
        written = write_profiles(client, users, profiles)
    sys.stdout.write(f"{events.height} events of {len(users)} customers, {written} profiles written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
