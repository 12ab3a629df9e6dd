"""Weeks of a bank in natural time: customers come at their hours, campaigns of attacks among them."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from model.simulator.attacks import Campaign
from model.simulator.bank import People, attacks_a_campaign
from model.simulator.config import SimulatorConfig
from model.simulator.customers import DAY_MS
from schemas.events import EVENT_FRAME, EVENT_TYPE_CODES

_CAMPAIGN_HOURS = {"credential_stuffing": 3.0, "mule_payee": 20.0}
_HOURS = 30.0
_HOUR_SPREAD = 1.6

LABELS = pl.Schema(
    {
        "session_id": pl.String,
        "label": pl.UInt8,
        "kind": pl.String,
        "onset_event_id": pl.String,
        "onset_at": pl.Int64,
        "known_at": pl.Int64,
    }
)
"""Columns of the labels: one row an attacked session; times in ms since 1970 (UTC)."""


class History(NamedTuple):
    """Some weeks of a bank."""

    events: pl.DataFrame
    """In stream order, columns of `EVENT_FRAME`."""
    labels: pl.DataFrame
    """Columns of `LABELS`."""


class _Visit(NamedTuple):
    """A session to come."""

    at_ms: float
    customer: int
    kind: str
    campaign: Campaign | None


def history(config: SimulatorConfig, seed: int, days: float, start_ms: int) -> History:
    """Return some days of the bank.

    Args:
        config: The bank.
        seed: Everything random comes from it.
        days: How many.
        start_ms: Event time of their beginning; its hour of the day counts as midnight.
    """
    people, dice = People(config, seed), random.Random(f"{seed}/history")  # noqa: S311 - a simulation
    visits = [visit for number in range(config.customers) for visit in _visits_of(people, seed, number, days)]
    visits += _attacks(people, dice, len(visits), days)
    visits.sort(key=lambda visit: (visit.at_ms, visit.customer))
    written = _Written(people, start_ms)
    for number, visit in enumerate(visits):
        written.add(number, visit)
    events = written.events()
    in_order = events[np.argsort(_arrival(events, config, seed), kind="stable")]
    in_order = in_order.with_columns(pl.int_range(events.height, dtype=pl.UInt32).alias("row"))
    return History(in_order, pl.DataFrame(written.labels, schema=LABELS, orient="row").sort("onset_at", "session_id"))


def _visits_of(people: People, seed: int, number: int, days: float) -> Iterator[_Visit]:
    """Yield when a customer comes."""
    who, dice = people.customer(number), random.Random(f"{seed}/visits/{number}")  # noqa: S311 - a simulation
    for day in range(math.ceil(days)):
        count = _poisson(dice, who.sessions_a_day)
        for _ in range(count if not who.is_away(day) else 0):
            hour = dice.gauss(dice.choice(who.hours), _HOUR_SPREAD) % 24
            at = (day + hour / 24) * DAY_MS
            if at < days * DAY_MS:
                yield _Visit(at, number, "", None)


def _attacks(people: People, dice: random.Random, honest: int, days: float) -> Iterator[_Visit]:
    """Yield the attacks: as many as their share of all sessions asks for, in campaigns."""
    config = people.config
    total = sum(config.attack_mix.values())
    for kind, weight in config.attack_mix.items():
        left = round(honest * config.attack_share / (1 - config.attack_share) * weight / total)
        number = 0
        while left > 0:
            campaign = people.campaign(kind, str(number))
            number += 1
            begins, hours = dice.uniform(0, days), _CAMPAIGN_HOURS.get(kind, _HOURS)
            size = min(left, 1 + _poisson(dice, attacks_a_campaign(kind) - 1))
            left -= size
            for _ in range(size):
                day = min(begins + dice.random() * hours / 24, days - 0.01)
                yield _Visit(day * DAY_MS, people.victim(kind, dice, day), kind, campaign)


@dataclass(slots=True)
class _Written:
    """What has been written of a history so far."""

    people: People
    start_ms: int
    columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in EVENT_FRAME if name != "row"})
    labels: list[tuple[Any, ...]] = field(default_factory=list)

    def add(self, number: int, visit: _Visit) -> None:
        """Append the events of a session, and its label."""
        begun = self.people.session(visit.customer, number, visit.at_ms, visit.kind, visit.campaign)
        session_id = f"s-{self.people.seed}-{number:07d}"
        at, onset = self.start_ms + int(visit.at_ms), None
        for place, step in enumerate(begun.steps):
            at += step.pause_ms if place else 0
            event_id = f"{session_id}-{place}"
            if step.label and onset is None:
                onset = (event_id, at)
            ids = (event_id, session_id, begun.user_id)
            where = (step.latency_ms, step.device, step.ip)
            row = (*ids, EVENT_TYPE_CODES[step.event_type], step.page, step.element_id, step.input_hash, at, *where)
            for column, value in zip(self.columns.values(), row, strict=True):
                column.append(value)
        if onset is not None:
            known_at = onset[1] + known_after_ms(self.people, number)
            self.labels.append((session_id, 1, begun.kind, *onset, known_at))

    def events(self) -> pl.DataFrame:
        """Return the events, session by session."""
        return pl.DataFrame({"row": [0] * len(self.columns["event_id"]), **self.columns}, schema=EVENT_FRAME)


def known_after_ms(people: People, session: int) -> int:
    """Return how long after its onset the bank knows of an attack; the labels of training come as late."""
    dice = random.Random(f"{people.seed}/known/{session}")  # noqa: S311 - a simulation
    hours = people.config.known_by_hours * math.exp(dice.gauss(0, 0.6)) * (10 if dice.random() < 0.1 else 1)  # noqa: PLR2004
    return int(hours * 3_600_000)


def _arrival(events: pl.DataFrame, config: SimulatorConfig, seed: int) -> NDArray[np.int64]:
    """Return by what events are ordered: some come seconds later than they happened, but none before its session's."""
    dice = np.random.default_rng(seed)
    late = dice.random(events.height) < config.out_of_order_share
    came = events["timestamp"] + late * dice.integers(0, config.out_of_order_ms + 1, events.height)
    ordered = pl.DataFrame({"session_id": events["session_id"], "came": came})
    return ordered.select(pl.col("came").cum_max().over("session_id")).to_series().to_numpy()


def _poisson(dice: random.Random, mean: float) -> int:
    """Return a Poisson number (Knuth, The Art of Computer Programming 3.4.1)."""
    limit, product, count = math.exp(-mean), dice.random(), 0
    while product > limit:
        product *= dice.random()
        count += 1
    return count
