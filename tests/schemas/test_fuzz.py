import json
import random
import subprocess
import sys

INPUTS = 20_000


def test_twenty_thousand_hostile_inputs_do_no_harm() -> None:
    seed = random.SystemRandom().randrange(2**32)
    command = [sys.executable, "-m", "tests.schemas.fuzz", "--inputs", str(INPUTS), "--seed", str(seed)]

    run = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own

    assert run.returncode == 0, run.stdout + run.stderr[-3000:]
    summary = json.loads(run.stdout.splitlines()[-1])
    assert (summary["seed"], summary["inputs"]) == (seed, INPUTS)
    assert summary["uncaught"] == summary["different"] == 0
    assert INPUTS // 10 < summary["rejected"] < INPUTS * 9 // 10
    assert summary["rss_growth_mib"] < 20
