"""What happens in one session, event by event: honest ones here, attacks in `attacks.py`."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from model.simulator.config import SimulatorConfig
from model.simulator.customers import Customer, a_device, an_address

_MAX_PAUSE_SECONDS = 600.0
_MIN_PAUSE_SECONDS = 0.03


@dataclass(frozen=True, slots=True)
class Step:
    """One event of a session, before it has a time and an id.

    Attributes:
        pause_ms: Since the event before it.
        label: 1 from the attack's onset on.
    """

    pause_ms: int
    event_type: str
    page: str
    element_id: str | None
    input_hash: str | None
    latency_ms: int
    device: str
    ip: str
    label: int = 0


@dataclass(frozen=True, slots=True)
class Actor:
    """Whoever sits at the device: their hands and their connection.

    Attributes:
        regularity: 0 for a person's pauses, 1 for a clock's.
    """

    dice: random.Random
    device: str
    ip: str
    pause_seconds: float
    pause_spread: float
    latency_ms: float
    regularity: float = 0.0
    label: int = 0

    def does(self, event_type: str, page: str, *, quick: float = 1.0) -> Step:
        """Return the next event: `quick` shortens the pause before it."""
        wait = self.pause_seconds * quick * math.exp(self.dice.gauss(0, self.pause_spread * (1 - self.regularity)))
        latency = self.latency_ms * math.exp(self.dice.gauss(0, 0.4))
        is_element = event_type in {"click", "input", "transfer"}
        return Step(
            pause_ms=int(min(max(wait, _MIN_PAUSE_SECONDS), _MAX_PAUSE_SECONDS) * 1000),
            event_type=event_type,
            page=page,
            element_id=f"el-{self.dice.randrange(40)}" if is_element else None,
            input_hash=f"{self.dice.getrandbits(64):016x}" if event_type == "input" else None,
            latency_ms=int(min(latency, 60_000)),
            device=self.device,
            ip=self.ip,
            label=self.label,
        )


def at_home(config: SimulatorConfig, who: Customer, dice: random.Random) -> Actor:
    """Return the customer as the bank knows them."""
    return Actor(dice, who.device, who.ip, who.pause_seconds, config.pause_spread, who.latency_ms)


def honest(config: SimulatorConfig, who: Customer, dice: random.Random) -> Iterator[Step]:
    """Yield an honest session, with all the oddities that honest people have."""
    actor = at_home(config, who, dice)
    if dice.random() < config.new_device_share:
        actor = replace(actor, device=a_device(dice))
    if dice.random() < config.traveller_share:
        actor = replace(actor, ip=an_address(dice, home=False), latency_ms=actor.latency_ms * 1.6)
    hops = dice.random() < config.address_hop_share
    yield from login(actor, config.typo_share)
    while True:
        if hops and dice.random() < 0.3:  # noqa: PLR2004 - now and then, on the way
            actor = replace(actor, ip=an_address(dice, home=True))
        if dice.random() < config.transfer_share:
            yield from transfer(actor)
        else:
            yield from browse(actor, dice.choice(who.pages))
        if dice.random() < 1 / config.mean_steps:
            break
    if dice.random() < 0.6:  # noqa: PLR2004 - most people log out
        yield actor.does("logout", "/logout")


def login(actor: Actor, typo_share: float) -> Iterator[Step]:
    """Yield a login, after as many failures as typos make."""
    yield actor.does("page_view", "/login")
    yield actor.does("input", "/login", quick=0.6)
    while actor.dice.random() < typo_share:
        yield actor.does("login_failed", "/login", quick=0.7)
        typo_share /= 2
    yield actor.does("login", "/login", quick=0.5)
    yield actor.does("page_view", "/home", quick=0.4)


def browse(actor: Actor, page: str) -> Iterator[Step]:
    """Yield a look at a page, with some clicks."""
    yield actor.does("page_view", f"{page}/{actor.dice.randrange(1, 5)}" if page == "/accounts" else page)
    for _ in range(actor.dice.randrange(3)):
        yield actor.does("click", page, quick=0.7)


def transfer(actor: Actor, *, new_payee: bool = False) -> Iterator[Step]:
    """Yield a transfer, to somebody known or to a new payee."""
    if new_payee:
        yield actor.does("page_view", "/payees")
        yield actor.does("input", "/payees", quick=0.6)
        yield actor.does("click", "/payees", quick=0.6)
    yield actor.does("page_view", "/transfer")
    for _ in range(actor.dice.randrange(1, 4)):
        yield actor.does("input", "/transfer", quick=0.7)
    yield actor.does("transfer", "/transfer")
