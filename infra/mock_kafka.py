"""The mock Kafka cluster in a process of its own: `python -m infra.mock_kafka --topics events:4,flags:4`.

Prints one JSON line with its address when it is ready and lives until SIGTERM, SIGINT or the end of its parent. With
`--control` it also takes commands, one JSON object a line on standard input, answers each with one line, and ends with
its input. It listens on loopback only and keeps nothing: never a place for data.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from infra.mock_cluster import MockCluster, MockClusterError
from infra.parent_death import die_with_parent


def _topics(text: str) -> dict[str, int]:
    """Read `name:partitions,name:partitions`.

    >>> _topics("events:4,flags:2")
    {'events': 4, 'flags': 2}
    """
    topics: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        name, _, partitions = part.rpartition(":")
        if not name or not partitions.isdigit() or int(partitions) < 1:
            msg = f"a topic is NAME:PARTITIONS, got {part!r}"
            raise argparse.ArgumentTypeError(msg)
        topics[name] = int(partitions)
    return topics


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.mock_kafka", description="A mock Kafka cluster on loopback.")
    parser.add_argument("--topics", type=_topics, default={}, help="NAME:PARTITIONS, separated by commas")
    parser.add_argument("--control", action="store_true", help="take commands on standard input and end with it")
    return parser.parse_args(argv)


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _answer(cluster: MockCluster, line: str) -> dict[str, Any]:
    """Do one command, `{"do": NAME, ...arguments}`, and say how it went."""
    commands: dict[str, Callable[..., None]] = {
        "create_topic": cluster.create_topic,
        "broker_down": cluster.broker_down,
        "broker_up": cluster.broker_up,
        "set_latency": cluster.set_latency,
        "fail_requests": cluster.fail_requests,
    }
    try:
        command = json.loads(line)
        commands[command.pop("do")](**command)
    except MockClusterError as error:
        return {"error": str(error)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return {"error": f"not a command: {error!r}, expected one of {', '.join(commands)}"}
    return {"ok": True}


def _serve(cluster: MockCluster, *, with_control: bool) -> None:
    if with_control:
        for line in sys.stdin:
            _say(_answer(cluster, line))
    else:
        while True:
            signal.pause()


def _end(*_: object) -> NoReturn:
    raise SystemExit(0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cluster until it is told to end; gives the exit status."""
    arguments = _arguments(argv)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    die_with_parent(os.getppid(), signal.SIGTERM)
    cluster = MockCluster()
    try:
        address = cluster.start()
        for name, partitions in arguments.topics.items():
            cluster.create_topic(name, partitions)
        _say({"bootstrap_servers": address})
        _serve(cluster, with_control=arguments.control)
    finally:
        cluster.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
