"""The customers of one bank and the campaigns against it: who comes next, and what their session will be."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from model.simulator.attacks import ATTACKS, Campaign, Scene, a_campaign
from model.simulator.config import SimulatorConfig
from model.simulator.customers import DAY_MS, Customer, customer
from model.simulator.sessions import Step, honest

CAMPAIGN_ATTACKS = {"credential_stuffing": 14, "mule_payee": 8}
"""Attacks of one campaign, on average; kinds that are not here have campaigns of two."""
_OTHERS = 2


class Begun(NamedTuple):
    """A session that begins.

    Attributes:
        kind: Of attack, empty for none.
        steps: Its events.
    """

    user_id: str
    kind: str
    steps: Iterator[Step]


@dataclass(slots=True)
class People:
    """The customers of a bank, made when they are first asked for.

    Attributes:
        config: The bank.
        seed: Everything random comes from it.
    """

    config: SimulatorConfig
    seed: int
    _known: dict[int, Customer] = field(default_factory=dict)

    def customer(self, number: int) -> Customer:
        """Return a customer."""
        if number not in self._known:
            self._known[number] = customer(self.config, self.seed, number)
        return self._known[number]

    def session(self, number: int, session: int, at_ms: float, kind: str, campaign: Campaign | None) -> Begun:
        """Begin a session.

        Args:
            number: The customer's.
            session: The session's, which its randomness comes from.
            at_ms: When it begins, after the start of the first day (UTC).
            kind: Of attack, empty for none.
            campaign: That the attack is part of.
        """
        who = self.customer(number)
        dice = random.Random(f"{self.seed}/session/{session}")  # noqa: S311 - a simulation, not a secret
        day = at_ms / DAY_MS
        hour = day % 1 * 24
        if campaign is None:
            return Begun(who.user_id, "", honest(self.config, who, dice, day, hour))
        return Begun(who.user_id, kind, ATTACKS[kind](Scene(self.config, who, dice, campaign, day, hour)))

    def victim(self, kind: str, dice: random.Random, day: float) -> int:
        """Return the number of a customer whom an attack of a kind meets: dormant ones for revivals."""
        for _ in range(200):
            number = dice.randrange(self.config.customers)
            if kind != "dormant_revival" or _slept(self.customer(number), day):
                return number
        return number

    def campaign(self, kind: str, name: str) -> Campaign:
        """Return a campaign, by its name."""
        return a_campaign(self.config, kind, f"{self.seed}/campaign/{kind}/{name}")


def _slept(who: Customer, day: float) -> bool:
    """Say whether a customer has been away for a week."""
    return who.away[0] + 7 <= day < who.away[1]


def attacks_a_campaign(kind: str) -> int:
    """Return how many attacks a campaign of a kind has on average."""
    return CAMPAIGN_ATTACKS.get(kind, _OTHERS)
