"""The attacks. Each has an onset: from there on its events are labelled 1, before it all is honest.

Attackers hurry, but not always, and imitate the customer as far as `SimulatorConfig.disguise` says.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

from model.simulator.config import SimulatorConfig
from model.simulator.customers import Customer, a_device, an_address
from model.simulator.sessions import Actor, Step, at_home, browse, honest, login, transfer

Attack = Callable[[SimulatorConfig, Customer, random.Random], Iterator[Step]]


def _stranger(config: SimulatorConfig, who: Customer, dice: random.Random, *, hurry: float) -> Actor:
    """Return an attacker with a device and an address of their own, as quick as their disguise allows."""
    pace = hurry ** (1 - config.disguise * dice.random())
    return replace(
        at_home(config, who, dice),
        device=a_device(dice),
        ip=an_address(dice, home=dice.random() < config.disguise),
        pause_seconds=who.pause_seconds * pace,
        label=1,
    )


def credential_stuffing(config: SimulatorConfig, who: Customer, dice: random.Random) -> Iterator[Step]:
    """Stolen passwords are tried; one in three sessions gets in and looks around."""
    actor = replace(_stranger(config, who, dice, hurry=0.3), regularity=0.5 * dice.random())
    yield actor.does("page_view", "/login")
    for _ in range(dice.randrange(2, 9)):
        if dice.random() < 0.5:  # noqa: PLR2004 - some fill the form again
            yield actor.does("input", "/login", quick=0.6)
        yield actor.does("login_failed", "/login")
    if dice.random() < 1 / 3:
        yield actor.does("login", "/login")
        yield from browse(actor, "/accounts")


def account_takeover(config: SimulatorConfig, who: Customer, dice: random.Random) -> Iterator[Step]:
    """Somebody with the right password, a new device and another network adds a payee and moves money."""
    actor = _stranger(config, who, dice, hurry=0.45)
    yield from login(actor, config.typo_share)
    for page in dice.sample(("/accounts", "/limits", "/settings", *who.pages), dice.randrange(1, 4)):
        yield from browse(actor, page)
    for _ in range(dice.randrange(1, 4)):
        yield from transfer(actor, new_payee=dice.random() < 0.8)  # noqa: PLR2004 - mostly to new payees


def scripted_client(config: SimulatorConfig, who: Customer, dice: random.Random) -> Iterator[Step]:
    """A program does what a customer does, from the customer's device, with pauses that vary too little."""
    actor = replace(
        at_home(config, who, dice),
        pause_seconds=who.pause_seconds * (0.35 + 0.65 * config.disguise * dice.random()),
        latency_ms=who.latency_ms * (0.5 + 0.4 * config.disguise),
        regularity=0.95 - 0.35 * config.disguise * dice.random(),
        label=1,
    )
    yield from login(actor, 0)
    for _ in range(dice.randrange(3, 10)):
        yield from browse(actor, dice.choice(who.pages))
    yield from transfer(actor, new_payee=dice.random() < 0.5)  # noqa: PLR2004 - a coin's toss


def session_hijack(config: SimulatorConfig, who: Customer, dice: random.Random) -> Iterator[Step]:
    """An honest session goes on somewhere else: the address changes, often the device, then money moves."""
    yield from islice(honest(config, who, dice), dice.randrange(6, 16))
    thief = _stranger(config, who, dice, hurry=0.5)
    if dice.random() < 0.5:  # noqa: PLR2004 - the other half copy the fingerprint too
        thief = replace(thief, device=who.device)
    for page in ("/accounts", "/limits")[: dice.randrange(3)]:
        yield from browse(thief, page)
    for _ in range(dice.randrange(1, 4)):
        yield from transfer(thief, new_payee=True)


def fast_appraisal(config: SimulatorConfig, who: Customer, dice: random.Random) -> Iterator[Step]:
    """Balance, statements, limits, settings, each at a glance; then a payee and a transfer."""
    actor = _stranger(config, who, dice, hurry=0.25)
    if dice.random() < 0.5:  # noqa: PLR2004 - half work through the customer's own device
        actor = replace(actor, device=who.device, ip=who.ip)
    yield from login(actor, config.typo_share)
    for page in dice.sample(("/accounts", "/statements", "/limits", "/settings", "/cards", "/loans"), 5):
        yield actor.does("page_view", page)
    yield from transfer(actor, new_payee=True)


ATTACKS: dict[str, Attack] = {
    "credential_stuffing": credential_stuffing,
    "account_takeover": account_takeover,
    "scripted_client": scripted_client,
    "session_hijack": session_hijack,
    "fast_appraisal": fast_appraisal,
}
"""By the kind's name in `SimulatorConfig.attack_mix`."""
