"""The attacks. Each has an onset: from there on its events are labelled 1, before it all is honest.

Attackers have hands of their own, quicker than their victim's as a rule, and imitate the victim as far as
`SimulatorConfig.imitation` and the difficulty say. Those of one campaign share devices, addresses and accounts.
"""

import math
import random
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace

from model.simulator.config import SimulatorConfig
from model.simulator.customers import Customer, a_device, an_address
from model.simulator.rhythm import Hands, Rhythm
from model.simulator.sessions import Actor, Step, as_usual, browse, honest, login, pay

BAD_PASSWORDS = 60
"""Passwords that stuffing tries again and again."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """What the attacks of one campaign share.

    Attributes:
        devices: Fingerprints.
        addresses: Where they come from.
        mules: Accounts that the money goes to.
        name: Of the people behind it.
    """

    devices: tuple[str, ...]
    addresses: tuple[str, ...]
    mules: tuple[str, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Scene:
    """Whom an attack meets, when, and with what.

    Attributes:
        day: Since the start, with its fraction.
        hour: Of the day, 0 to 24.
    """

    config: SimulatorConfig
    who: Customer
    dice: random.Random
    campaign: Campaign
    day: float
    hour: float


Attack = Callable[[Scene], Iterator[Step]]


def a_campaign(config: SimulatorConfig, kind: str, name: str) -> Campaign:
    """Return a campaign of a kind of attack, by its name."""
    dice = random.Random(name)  # noqa: S311 - a simulation, not a secret
    foreign = config.attack_foreign_share
    return Campaign(
        devices=tuple(a_device(dice) for _ in range(dice.randrange(1, 4))),
        addresses=tuple(an_address(dice, home=dice.random() >= foreign) for _ in range(dice.randrange(2, 7))),
        mules=tuple(f"account-{dice.getrandbits(40):010x}" for _ in range(1 if kind == "mule_payee" else 2)),
        name=name,
    )


def credential_stuffing(scene: Scene) -> Iterator[Step]:
    """Stolen passwords are tried by a program; some get in and look around."""
    dice, program = scene.dice, Rhythm(scene.campaign.name, math.log(4.0), 0.3, 0.3)
    actor = _stranger(scene, program, spread=dice.uniform(0.3, 0.8))
    actor.device, actor.ip = dice.choice(scene.campaign.devices), dice.choice(scene.campaign.addresses)
    tries = min(1 + int(dice.expovariate(0.9)), 6)
    gets_in = dice.random() < 0.35  # noqa: PLR2004 - a third of the passwords that are still tried by then
    for number in range(tries):
        password = f"bad {dice.randrange(BAD_PASSWORDS)}"
        if gets_in and number == tries - 1:
            yield from login(actor, scene.who, 0, password)
            for task in ("balance", "cards", "settings")[: dice.randrange(1, 4)]:
                yield from browse(actor, task)
        else:
            yield actor.does("page_view", "/login")
            yield from _fails(actor, scene.who, password)


def _fails(actor: Actor, who: Customer, password: str) -> Iterator[Step]:
    for step in login(actor, who, 0, password):
        if step.event_type == "input":
            yield step
        if step.event_type == "login":
            break
    yield actor.does("login_failed", "/login", quick=0.5)


def account_takeover(scene: Scene) -> Iterator[Step]:
    """Somebody with the right password, a new device and another network adds a payee and moves money."""
    actor = _stranger(scene)
    yield from login(actor, scene.who, 0.1)
    yield from _looks_around(actor, ("balance", "limits", "settings", "cards", "documents"), 2, 5)
    yield from _moves_money(actor, scene)


def session_hijack(scene: Scene) -> Iterator[Step]:
    """An honest session goes on somewhere else: the address changes, often the device, then money moves."""
    dice = scene.dice
    before = list(honest(scene.config, replace(scene.who, aggregator=-1), dice, scene.day, scene.hour))
    kept = [step for step in before if step.event_type != "logout"][: dice.randrange(6, 18)]
    yield from kept
    thief = _stranger(scene)
    thief.page = kept[-1].page
    if dice.random() < 0.6:  # noqa: PLR2004 - most copy the fingerprint too
        thief.device = kept[-1].device
    yield from _looks_around(thief, ("balance", "limits", "cards"), 1, 4)
    yield from _moves_money(thief, scene)


def scripted_client(scene: Scene) -> Iterator[Step]:
    """A program does what a customer does, from the customer's device, with pauses that vary too little."""
    dice = scene.dice
    program = Rhythm(scene.campaign.name, scene.who.rhythm.log_seconds + math.log(dice.uniform(0.5, 0.9)), 0.2, 0.1)
    actor = as_usual(scene.config, scene.who, dice, scene.day, scene.hour)
    actor.label = 1
    actor.hands = _hands(scene, program, spread=0.15 + 0.6 * scene.config.difficulty * dice.random())
    yield from login(actor, scene.who, 0)
    yield from _looks_around(actor, ("balance", "documents", "cards", "messages"), 2, 5)
    yield from _moves_money(actor, scene)


def remote_access_scam(scene: Scene) -> Iterator[Step]:
    """A caller guides the customer through a remote desktop: their device, slow pages, long hesitation."""
    dice = scene.dice
    actor = yield from _logged_in(scene)
    actor.carrier = -1
    actor.latency_log += dice.uniform(0.3, 0.85)
    actor.latency_spread *= dice.uniform(1.2, 1.8)
    caller = Rhythm(f"{scene.campaign.name}/{dice.getrandbits(32)}", _tempo(scene, 1.1, 1.9), 0.45, 0.7)
    actor.hands = _hands(scene, caller, spread=dice.uniform(0.6, 0.85))
    yield from _looks_around(actor, ("balance", "limits", "settings", "help"), 2, 5)
    yield from _moves_money(actor, scene)


def mule_payee(scene: Scene) -> Iterator[Step]:
    """The customer was tricked or pressed to pay a mule, whose account many others type in these days."""
    dice = scene.dice
    actor = yield from _logged_in(scene)
    mood = actor.hands.mood_log + dice.uniform(0.1, 0.5)
    actor.hands = replace(actor.hands, mood_log=mood, spread=scene.config.pause_spread * dice.uniform(1.0, 1.3))
    yield from _looks_around(actor, ("balance", "limits", "messages"), 1, 3)
    yield from _moves_money(actor, scene)


def dormant_revival(scene: Scene) -> Iterator[Step]:
    """An account that nobody used for weeks wakes up, in other hands."""
    actor = _stranger(scene)
    yield from login(actor, scene.who, 0.2)
    yield from _looks_around(actor, ("balance", "settings", "limits", "documents"), 2, 5)
    yield from _moves_money(actor, scene)


def fast_appraisal(scene: Scene) -> Iterator[Step]:
    """Balance, documents, limits, settings, each at a glance; then a payee and a transfer."""
    dice = scene.dice
    actor = _stranger(scene)
    actor.hands = replace(actor.hands, mood_log=actor.hands.mood_log - dice.uniform(0.2, 0.5))
    if dice.random() < 0.5:  # noqa: PLR2004 - half work through the customer's own device
        usual = as_usual(scene.config, scene.who, dice, scene.day, scene.hour)
        actor.device, actor.ip, actor.latency_log = usual.device, usual.ip, usual.latency_log + 0.25
    yield from login(actor, scene.who, 0.05)
    tasks = ("balance", "documents", "limits", "settings", "cards", "loans", "invest")
    for task in dice.sample(tasks, dice.randrange(2, 6)):
        yield from browse(actor, task, depth=1)
    yield from _moves_money(actor, scene)


def _logged_in(scene: Scene) -> Generator[Step, None, Actor]:
    """Yield the victim's own login; return them, from now on in somebody else's hands or plan."""
    actor = as_usual(scene.config, scene.who, scene.dice, scene.day, scene.hour)
    yield from login(actor, scene.who, scene.who.typo_share)
    actor.label = 1
    return actor


def _stranger(scene: Scene, rhythm: Rhythm | None = None, spread: float | None = None) -> Actor:
    """Return an attacker with a device and an address of their own, as like the victim as they can be."""
    config, dice = scene.config, scene.dice
    own = rhythm or Rhythm(
        f"{scene.campaign.name}/{dice.getrandbits(32)}", _tempo(scene, *config.tempo), config.step_spread, 0.5
    )
    latency_log = math.log(config.latency_ms) + dice.gauss(0.25, 0.4)
    hands = _hands(scene, own, spread=spread or config.pause_spread * dice.uniform(0.8, 1.1))
    ip = an_address(dice, home=dice.random() >= config.attack_foreign_share)
    return Actor(dice, hands, a_device(dice), ip, latency_log, dice.uniform(0.2, 0.45), -1, dice.uniform(0.1, 0.9), 1)


def _tempo(scene: Scene, low: float, high: float) -> float:
    """Return the logarithm of an attacker's median pause: that of somebody like the victims, by a factor."""
    dice, config = scene.dice, scene.config
    someone = math.log(config.pause_seconds) + dice.gauss(0, config.customer_spread)
    return someone + math.log(dice.uniform(low, high))


def _hands(scene: Scene, own: Rhythm, spread: float) -> Hands:
    config, dice = scene.config, scene.dice
    imitation = config.imitation * config.difficulty * dice.random()
    return Hands(own, scene.who.rhythm, imitation, dice.gauss(0, config.mood_spread), spread)


def _looks_around(actor: Actor, tasks: tuple[str, ...], least: int, below: int) -> Iterator[Step]:
    """Yield some of these tasks, at a glance."""
    for task in actor.dice.sample(tasks, min(actor.dice.randrange(least, below), len(tasks))):
        yield from browse(actor, task)


def _moves_money(actor: Actor, scene: Scene) -> Iterator[Step]:
    """Yield one to three payments to the campaign's accounts; the first one is a new payee."""
    mule = scene.dice.choice(scene.campaign.mules)
    yield from pay(actor, scene.who, new=mule)
    while scene.dice.random() < 0.25:  # noqa: PLR2004 - more, where it goes through
        yield from pay(actor, scene.who, new=None)


ATTACKS: dict[str, Attack] = {
    "credential_stuffing": credential_stuffing,
    "account_takeover": account_takeover,
    "session_hijack": session_hijack,
    "scripted_client": scripted_client,
    "remote_access_scam": remote_access_scam,
    "mule_payee": mule_payee,
    "dormant_revival": dormant_revival,
    "fast_appraisal": fast_appraisal,
}
"""By the kind's name in `SimulatorConfig.attack_mix`."""
