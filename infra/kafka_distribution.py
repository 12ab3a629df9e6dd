"""Apache Kafka as a folder of jars: fetched once with Maven (its own configured defaults) and kept in a cache.

No Docker, no archive, no address of a registry: `infra/kafka/pom.xml` names the artifacts, Maven knows where they are.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

POM = Path(__file__).with_name("kafka") / "pom.xml"

_LEAST_JAVA = 17
_FETCH_SECONDS = 600


class KafkaDistributionError(RuntimeError):
    """The jars of Kafka could not be had."""


def kafka_version() -> str:
    """Give the version of Kafka that the pom names."""
    found = re.search(r"<kafka\.version>([^<]+)<", POM.read_text())
    if found is None:
        msg = f"{POM.name} names no kafka.version"
        raise KafkaDistributionError(msg)
    return found[1]


def _jars_folder() -> Path:
    """Give where the jars are kept, by version and by content of the pom; it exists only when it is complete."""
    cache = Path(os.environ.get("CLICKSTREAM_CACHE") or Path.home() / ".cache" / "clickstream-fraud")
    content = hashlib.sha256(POM.read_bytes()).hexdigest()[:8]
    return cache / f"kafka-{kafka_version()}" / f"lib-{content}"


def missing_tool() -> str | None:
    """Say in a few words what is missing for a real Kafka on this machine; None when nothing is."""
    java = shutil.which("java")
    if java is None:
        return f"java is not on the PATH (Java {_LEAST_JAVA} or newer is needed)"
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    version = re.search(r'version "(\d+)', answer.stderr)
    if version is None or int(version[1]) < _LEAST_JAVA:
        return f"java is too old: Java {_LEAST_JAVA} or newer is needed, got {version[1] if version else 'none'}"
    if shutil.which("mvn") is None and not _jars_folder().is_dir():
        return "mvn (Maven) is not on the PATH and the jars of Kafka are not in the cache"
    return None


def fetch_jars() -> Path:
    """Give the folder of Kafka's jars, fetching them when they are not in the cache yet.

    Raises:
        KafkaDistributionError: If Maven fails or takes too long.
    """
    jars = _jars_folder()
    if jars.is_dir():
        return jars
    jars.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=jars.parent, prefix="fetch-") as scratch:
        fetched = Path(scratch) / "lib"
        _run_maven(fetched)
        # One step, so that nobody ever sees half a folder; a fetch at the same time may have been first.
        if not jars.is_dir():
            fetched.rename(jars)
    return jars


def _run_maven(output: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        msg = "mvn (Maven) is not on the PATH: it fetches the jars of Kafka"
        raise KafkaDistributionError(msg)
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={output}"]
    command = [maven, "--batch-mode", "--quiet", "--file", str(POM), *goal]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        msg = f"Maven did not fetch the jars of Kafka within {_FETCH_SECONDS} s"
        raise KafkaDistributionError(msg) from None
    if answer.returncode != 0 or not output.is_dir():
        msg = f"Maven could not fetch the jars of Kafka:\n{(answer.stdout + answer.stderr).strip()[-2000:]}"
        raise KafkaDistributionError(msg)
