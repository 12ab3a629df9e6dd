"""What `make run` promises a newcomer: with a model, flags within seconds, and an end that leaves nothing running."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_OURS = ("KAFKA_BOOTSTRAP_SERVERS", "REDIS_URL", "METRICS_PORT", "RUST_BACKTRACE")
A_SMALL_MODEL = ["--worlds", "1", "--days", "20", "--customers", "800", "--max-iter", "60", "--max-leaf-nodes", "15"]


def run(folder: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in NOT_OURS}
    env |= {"PYTHONPATH": str(ROOT), "MODEL_DIR": str(folder / "models")}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)  # noqa: S603


@pytest.mark.timeout(180)
def test_a_newcomer_sees_flags_within_seconds_and_what_redis_has_come_to_know(tmp_path: Path) -> None:
    trained = run(tmp_path, "model.train", *A_SMALL_MODEL, "--out", str(tmp_path / "models"))
    assert trained.returncode == 0, trained.stderr

    shown = run(tmp_path, "dataflows.demo", "--seconds", "15", "--rate", "60", "--seed", "7")

    assert shown.returncode == 0, shown.stderr
    summary = json.loads(shown.stdout.splitlines()[-1])
    assert summary["flags"] > 0
    assert summary["scored"] > 600
    assert summary["users_known"] > 500
    assert summary["inputs_known"] > 50
    assert "  flag " in shown.stdout
