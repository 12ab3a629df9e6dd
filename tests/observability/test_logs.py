import json
import logging
from collections.abc import Iterator
from datetime import datetime

import pytest

from observability.logs import set_up_logging


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Put the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_json_lines_are_one_object_each_whatever_the_message(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("json")

    logging.getLogger("fraud.source").warning("partition %d\nwaits for “%s”", 3, "schema")
    logging.getLogger("fraud").info("health on %s", "port")

    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert first.pop("time").endswith("+00:00")
    assert first == {"level": "warning", "logger": "fraud.source", "message": "partition 3\nwaits for “schema”"}
    assert (second["level"], second["message"]) == ("info", "health on port")
    assert datetime.fromisoformat(second["time"]).utcoffset() is not None


def test_a_json_line_carries_its_exception(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("json")

    try:
        raise ValueError("wrong")  # noqa: TRY301 - an example
    except ValueError:
        logging.getLogger("fraud").exception("step failed")

    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert line["level"] == "error"
    assert line["exception"].endswith("ValueError: wrong")


def test_console_lines_are_for_people_and_debug_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("console")

    logging.getLogger("fraud").debug("too much")
    logging.getLogger("fraud").info("draining")

    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(" INFO fraud: draining")


def test_setting_up_again_does_not_say_everything_twice(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("console")
    set_up_logging("json")

    logging.getLogger("fraud").info("once")

    assert len(capsys.readouterr().err.splitlines()) == 1
