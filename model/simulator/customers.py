"""Who uses the bank, and with what: a customer is always the same, whoever asks and in whatever order."""

import math
import random
from dataclasses import dataclass

from model.simulator.config import SimulatorConfig

HOME_PAGES = ("/accounts", "/cards", "/statements", "/loans", "/help", "/settings", "/messages", "/limits")
_FAVOURITES = 4


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer's habits.

    Attributes:
        user_id: Of the bank.
        device: Fingerprint of the device they always use.
        ip: Their address at home.
        pause_seconds: Their median pause between two events.
        latency_ms: Their median page latency.
        pages: The pages they visit, most liked first.
    """

    user_id: str
    device: str
    ip: str
    pause_seconds: float
    latency_ms: float
    pages: tuple[str, ...]


def customer(config: SimulatorConfig, seed: int, number: int) -> Customer:
    """Return a customer of the bank with this seed, by number."""
    dice = random.Random(f"{seed}/customer/{number}")  # noqa: S311 - a simulation, not a secret
    household = random.Random(f"{seed}/household/{number // 2}")  # noqa: S311 - two customers share an address
    return Customer(
        user_id=f"user-{number:06d}",
        device=f"{dice.getrandbits(128):032x}",
        ip=an_address(household, home=True),
        pause_seconds=config.pause_seconds * math.exp(dice.gauss(0, config.customer_spread)),
        latency_ms=90 * math.exp(dice.gauss(0, 0.35)),
        pages=tuple(dice.sample(HOME_PAGES, _FAVOURITES)),
    )


def an_address(dice: random.Random, *, home: bool) -> str:
    """Return an IPv4 address: of the bank's country, or from somewhere else."""
    first = dice.choice((81, 84, 91, 212)) if home else dice.choice((23, 45, 103, 185, 194))
    return f"{first}.{dice.randrange(256)}.{dice.randrange(256)}.{dice.randrange(1, 255)}"


def a_device(dice: random.Random) -> str:
    """Return the fingerprint of a device nobody has seen."""
    return f"{dice.getrandbits(128):032x}"
