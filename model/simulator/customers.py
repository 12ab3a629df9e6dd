"""Who uses the bank, with what, when and how: a customer is always the same, whoever asks and in whatever order."""

import math
import random
from dataclasses import dataclass
from hashlib import blake2b

from model.simulator.config import SimulatorConfig
from model.simulator.rhythm import Rhythm

HOUSEHOLD, OFFICE = 2, 40
"""Customers who share an address at home, and at work."""

_CARRIERS, _CARRIER_ADDRESSES = 3, 48
_BILLERS, _AGGREGATORS = 25, 2
DAY_MS = 86_400_000

TASKS = ("balance", "documents", "cards", "pay", "loans", "invest", "messages", "settings", "limits", "search", "help")
_TASK_WEIGHTS = (4.0, 1.0, 1.4, 3.0, 0.5, 0.8, 1.2, 0.35, 0.35, 0.7, 0.4)


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer's habits.

    Attributes:
        user_id: Of the bank.
        rhythm: Of their hands.
        rhythm_slope: By how much the logarithm of their pauses changes a day.
        phones: Fingerprints of their phones, in the order in which they have them.
        phone_days: Day from which each phone is theirs.
        laptop: Fingerprint of their other device, empty where they have none.
        home: Their address at home; the household shares it.
        office: Their address at work, empty where they have none.
        carrier: Number of their mobile network.
        latency_log: Logarithm of their median page latency at home.
        tasks: How likely they do each of `TASKS`.
        clicks: Mean clicks on a page.
        mean_tasks: Mean number of things they do in a session.
        typo_share: Logins that fail once.
        has_manager: Whether a program fills in their login.
        aggregator: Number of the company that reads their accounts, -1 for none.
        sessions_a_day: How often they come.
        hours: Hours of the day at which they mostly come.
        away: Days from and to which they stay away.
        abroad: Days from and to which they are in another country.
        payees: Accounts they pay, as typed.
    """

    user_id: str
    rhythm: Rhythm
    rhythm_slope: float
    phones: tuple[str, ...]
    phone_days: tuple[float, ...]
    laptop: str
    home: str
    office: str
    carrier: int
    latency_log: float
    tasks: tuple[float, ...]
    clicks: float
    mean_tasks: float
    typo_share: float
    has_manager: bool
    aggregator: int
    sessions_a_day: float
    hours: tuple[float, float]
    away: tuple[float, float]
    abroad: tuple[float, float]
    payees: tuple[str, ...]

    def phone(self, day: float) -> str:
        """Return the phone that is theirs on a day."""
        return next(
            phone for phone, since in zip(self.phones[::-1], self.phone_days[::-1], strict=True) if since <= day
        )

    def is_away(self, day: float) -> bool:
        """Say whether they stay away on a day."""
        return self.away[0] <= day < self.away[1]

    def is_abroad(self, day: float) -> bool:
        """Say whether they are in another country on a day."""
        return self.abroad[0] <= day < self.abroad[1]


def customer(config: SimulatorConfig, seed: int, number: int) -> Customer:
    """Return a customer of the bank with this seed, by number."""
    dice = _dice(f"{seed}/customer/{number}")
    log = math.log(config.pause_seconds) + dice.gauss(0, config.customer_spread)
    spread = config.pause_spread * math.exp(dice.gauss(0, config.regularity_spread))
    phones, days = _phones(config, dice)
    away_from = dice.uniform(0, 40)
    is_dormant = dice.random() < config.dormant_share
    abroad_from = dice.uniform(-7, 30) if dice.random() < config.odd(config.traveller_share) else math.inf
    return Customer(
        user_id=f"user-{number:06d}",
        rhythm=Rhythm(f"{seed}/hands/{number}", log, config.step_spread, spread),
        rhythm_slope=config.drift * config.rhythm_drift * dice.gauss(0, 1) / 30,
        phones=phones,
        phone_days=days,
        laptop=a_device(dice) if dice.random() < 0.6 else "",  # noqa: PLR2004 - most have one
        home=an_address(_dice(f"{seed}/home/{number // HOUSEHOLD}"), home=True),
        office=an_address(_dice(f"{seed}/office/{number // OFFICE}"), home=True) if dice.random() < 0.5 else "",  # noqa: PLR2004
        carrier=dice.randrange(_CARRIERS),
        latency_log=math.log(config.latency_ms) + dice.gauss(0, 0.35),
        tasks=_task_weights(dice),
        clicks=dice.uniform(0.2, 1.8),
        mean_tasks=max(config.mean_tasks * math.exp(dice.gauss(0, config.task_spread)), 1.2),
        typo_share=min(config.typo_share * math.exp(dice.gauss(0, 0.9)), 0.6),
        has_manager=dice.random() < config.password_manager_share,
        aggregator=dice.randrange(_AGGREGATORS) if dice.random() < config.aggregator_share else -1,
        sessions_a_day=config.sessions_a_week / 7 * math.exp(dice.gauss(0, config.activity_spread)),
        hours=(dice.gauss(9, 2.5) % 24, dice.gauss(19, 2.5) % 24),
        away=(away_from, away_from + dice.uniform(20, 50)) if is_dormant else (math.inf, math.inf),
        abroad=(abroad_from, abroad_from + 7),
        payees=tuple(_account(dice) for _ in range(dice.randrange(2, 7))),
    )


def _phones(config: SimulatorConfig, dice: random.Random) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Return phones and the days from which a customer has them; the first one for ever."""
    phones, days, day = [a_device(dice)], [-math.inf], 0.0
    while True:
        day += dice.expovariate(config.drift / config.phone_days) if config.drift else math.inf
        if day > 400:  # noqa: PLR2004 - longer than any history
            return tuple(phones), tuple(days)
        phones.append(a_device(dice))
        days.append(day)


def _task_weights(dice: random.Random) -> tuple[float, ...]:
    """Return a customer's own likes: few things often, most hardly ever."""
    weights = [weight * dice.gammavariate(0.6, 1.0) for weight in _TASK_WEIGHTS]
    weights[0] += 0.5  # everybody looks at their balance
    return tuple(weights)


def biller(number: int) -> str:
    """Return the account of a company that many customers pay."""
    return _account(_dice(f"biller/{number}"))


def a_biller(dice: random.Random) -> str:
    """Return the account of some company; few have most of the customers."""
    return biller(min(int(dice.paretovariate(0.8)), _BILLERS))


def aggregator(number: int, dice: random.Random) -> tuple[str, str]:
    """Return device and address of a company that reads accounts for its customers."""
    fixed = _dice(f"aggregator/{number}")
    return a_device(fixed), f"34.{fixed.randrange(256)}.7.{dice.randrange(1, 9)}"


def mobile_address(carrier: int, dice: random.Random) -> str:
    """Return one of the addresses behind which a mobile network has its customers."""
    return f"77.{10 + carrier}.0.{1 + dice.randrange(_CARRIER_ADDRESSES)}"


def an_address(dice: random.Random, *, home: bool) -> str:
    """Return an IPv4 address: of the bank's country, or from somewhere else."""
    first = dice.choice((81, 84, 91, 212)) if home else dice.choice((23, 45, 103, 185, 194))
    return f"{first}.{dice.randrange(256)}.{dice.randrange(256)}.{dice.randrange(1, 255)}"


def a_device(dice: random.Random) -> str:
    """Return the fingerprint of a device nobody has seen."""
    return f"{dice.getrandbits(128):032x}"


def masked(text: str) -> str:
    """Return what the bank's pages send of a typed text: the same for the same text, and nothing to read it from."""
    return blake2b(text.encode(), digest_size=8, key=b"simulated bank").hexdigest()


def _account(dice: random.Random) -> str:
    return f"account-{dice.getrandbits(40):010x}"


def _dice(name: str) -> random.Random:
    return random.Random(name)  # noqa: S311 - a simulation, not a secret
