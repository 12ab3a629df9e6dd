"""People who type a phrase, and others who type it in their name: behavioural data that knows no bank."""

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl

PHRASE = "correcthorse"
START_MS = 1_700_000_000_000


def typing(users: int = 12, genuine: int = 40, imposters: int = 12, seed: int = 1) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Give events and labels: each user's own way from key to key, and sessions of others in their name."""
    dice = random.Random(seed)
    rhythm = {user: {pair: 120 * 2.0 ** dice.gauss(0, 0.7) for pair in pairwise(PHRASE)} for user in range(users)}
    order = [(user, user) for user in range(users) for _ in range(genuine)]
    order += [
        (user, dice.choice([other for other in range(users) if other != user]))
        for user in range(users)
        for _ in range(imposters)
    ]
    dice.shuffle(order)
    events: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    for number, (user, hands) in enumerate(order):
        at = START_MS + number * 60_000
        for place, key in enumerate(PHRASE):
            at += int(rhythm[hands][PHRASE[place - 1], key] * 2.0 ** dice.gauss(0, 0.25)) if place else 0
            events.append(
                {
                    "session_id": f"typed-{number}",
                    "user_id": f"person-{user}",
                    "event_type": "input",
                    "page": f"key {key}",
                    "timestamp": at,
                }
            )
        word = "genuine" if user == hands else "imposter"
        labels.append({"session_id": f"typed-{number}", "label": word, "known_at": at + 1_000})
    return pl.DataFrame(events), pl.DataFrame(labels)


def written(folder: Path, suffix: str = ".parquet", **more: int) -> tuple[Path, Path]:
    """Write such data; give the files of events and of labels."""
    events, labels = typing(**more)
    path = folder / f"events{suffix}"
    if suffix == ".parquet":
        events.write_parquet(path)
    else:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in events.to_dicts()))
    labels.write_csv(folder / "labels.csv")
    return path, folder / "labels.csv"
