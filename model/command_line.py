"""What the model's commands share: arguments that are refused in one line, and a way to write to the terminal."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

DEFAULT_SHELF = Path("model/artifacts")
"""Where the models are, seen from the root of the project."""


def argument_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """Return a parser that answers a bad argument with one line and exit code 2."""
    shown_by_description = argparse.SUPPRESS  # the usage would be more lines than the error
    return argparse.ArgumentParser(
        prog=prog,
        usage=shown_by_description,
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )


def whole(at_least: int, at_most: int = 2**31 - 1) -> Callable[[str], int]:
    """Return a reader of whole numbers within these bounds, for `add_argument(type=...)`."""

    def read(text: str) -> int:
        if not (text.isdecimal() and text.isascii() and at_least <= int(text) <= at_most):
            msg = f"must be a whole number from {at_least} to {at_most}, got {text!r}"
            raise argparse.ArgumentTypeError(msg)
        return int(text)

    return read


def number(low: float, high: float) -> Callable[[str], float]:
    """Return a reader of numbers within these bounds, for `add_argument(type=...)`."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            msg = f"must be a number from {low:g} to {high:g}, got {text!r}"
            raise argparse.ArgumentTypeError(msg)
        return value

    return read


def say(line: str) -> None:
    """Write a line to the terminal at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def refuse(prog: str, reason: Exception) -> int:
    """Write why a command cannot do its work, in one line; return the exit code 2."""
    sys.stderr.write(f"{prog}: error: {reason}\n")
    return 2
