"""What happens in one session, event by event: honest ones here, attacks in `attacks.py`."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from model.simulator.config import SimulatorConfig
from model.simulator.customers import (
    TASKS,
    Customer,
    a_biller,
    aggregator,
    an_address,
    masked,
    mobile_address,
)
from model.simulator.rhythm import Hands, Rhythm

_PAGES = {
    "balance": ("/accounts", "/accounts/{n}", "/accounts/{n}/transactions"),
    "documents": ("/documents", "/documents/statements"),
    "cards": ("/cards", "/cards/{n}", "/cards/{n}/limits"),
    "loans": ("/loans", "/loans/{n}"),
    "invest": ("/invest", "/invest/portfolio", "/invest/orders"),
    "messages": ("/messages", "/messages/{n}"),
    "settings": ("/settings", "/settings/contact", "/settings/security"),
    "limits": ("/limits",),
    "search": ("/search",),
    "help": ("/help", "/help/contact"),
}
"""The pages of each task but `pay`, in the order in which one gets to them."""

_ROUND_AMOUNTS = tuple(masked(f"amount-{amount}") for amount in (10, 20, 25, 30, 40, 50, 75, 100, 150, 200, 250, 500))


class Step(NamedTuple):
    """One event of a session, before it has a time and an id."""

    pause_ms: int
    """Since the event before it."""
    event_type: str
    page: str
    element_id: str | None
    input_hash: str | None
    latency_ms: int
    device: str
    ip: str
    label: int
    """1 from the attack's onset on."""


@dataclass(slots=True)
class Actor:
    """Whoever sits at the device: their hands, their connection, and where they are.

    Attributes:
        device: Fingerprint.
        ip: Address.
        carrier: Number of the mobile network whose addresses change in mid-session, -1 for none.
        latency_log: Logarithm of the median page latency.
        latency_spread: How far moments differ.
        clicks: Mean clicks on a page.
        page: Where they are.
    """

    dice: random.Random
    hands: Hands
    device: str
    ip: str
    latency_log: float
    latency_spread: float = 0.3
    carrier: int = -1
    clicks: float = 1.0
    label: int = 0
    page: str = ""

    def does(self, event_type: str, page: str, text: str | None = None, *, quick: float = 1.0) -> Step:
        """Return the next event; `text` is a masked input, `quick` shortens the pause before it."""
        dice = self.dice
        pause = self.hands.pause_ms(dice, self.page, page, event_type, quick)
        latency = math.exp(self.latency_log + dice.gauss(0, self.latency_spread))
        self.page = page
        if self.carrier >= 0 and dice.random() < 0.08:  # noqa: PLR2004 - now and then, on the way
            self.ip = mobile_address(self.carrier, dice)
        shown = page.replace("{n}", str(dice.randrange(1, 5))) if "{" in page else page
        element = None if event_type in {"page_view", "login", "login_failed", "logout"} else f"el-{dice.randrange(40)}"
        return Step(
            pause, event_type, shown, element, text, int(min(latency, 60_000)), self.device, self.ip, self.label
        )


def hands_of(config: SimulatorConfig, who: Customer, dice: random.Random, day: float) -> Hands:
    """Return the customer's own hands on a day."""
    mood = dice.gauss(0, config.mood_spread) + who.rhythm_slope * day
    return Hands(who.rhythm, mood_log=mood, spread=who.rhythm.spread)


def as_usual(config: SimulatorConfig, who: Customer, dice: random.Random, day: float, hour: float) -> Actor:
    """Return the customer as the bank knows them: with one of their devices, in one of their networks."""
    at_work = bool(who.office) and 9 <= hour < 17  # noqa: PLR2004 - office hours
    with_laptop = bool(who.laptop) and dice.random() < 0.3  # noqa: PLR2004 - the phone is at hand
    device = who.laptop if with_laptop else who.phone(day)
    ip, carrier, latency_log = who.home, -1, who.latency_log
    if at_work and (with_laptop or dice.random() < 0.3):  # noqa: PLR2004 - some use the office's network
        ip, latency_log = who.office, latency_log - 0.2
    elif not with_laptop and dice.random() < 0.4:  # noqa: PLR2004 - on the way
        ip, latency_log = mobile_address(who.carrier, dice), latency_log + 0.35
        carrier = who.carrier if dice.random() < config.odd(config.address_hop_share) else -1
    if who.is_abroad(day):
        there = random.Random(f"{who.user_id}/abroad/{int(day) // 2}")  # noqa: S311 - a simulation, not a secret
        ip, carrier, latency_log = an_address(there, home=False), -1, latency_log + 0.5
    latency_log += dice.gauss(0, 0.12)
    return Actor(dice, hands_of(config, who, dice, day), device, ip, latency_log, 0.3, carrier, who.clicks)


def honest(config: SimulatorConfig, who: Customer, dice: random.Random, day: float, hour: float) -> Iterator[Step]:
    """Yield an honest session, with all the oddities that honest people have."""
    if who.aggregator >= 0 and dice.random() < 0.5:  # noqa: PLR2004 - the company comes as often as they do
        yield from read_by_program(who, dice)
        return
    actor = as_usual(config, who, dice, day, hour)
    if dice.random() < config.odd(config.helped_share):
        helper = Rhythm(f"helper/{dice.getrandbits(32)}", math.log(config.pause_seconds), config.step_spread, 0.5)
        actor.hands = replace(actor.hands, own=helper)
    switches = not who.is_abroad(day) and dice.random() < config.odd(config.network_switch_share)
    if dice.random() < config.odd(config.gives_up_share):
        yield from _gives_up(actor, who)
        return
    yield from login(actor, who, who.typo_share)
    while True:
        (task,) = dice.choices(TASKS, weights=who.tasks)
        if task == "pay":
            yield from pay(actor, who, new=_a_new_payee(config, dice))
            while dice.random() < 0.3:  # noqa: PLR2004 - bills seldom come alone
                yield from pay(actor, who, new=None)
        else:
            yield from browse(actor, task)
        if dice.random() < 1 / who.mean_tasks:
            break
        if switches and dice.random() < 0.4:  # noqa: PLR2004 - somewhere on the way
            switches = False
            _switch_network(actor, who)
    if dice.random() < 0.6:  # noqa: PLR2004 - most people log out
        yield actor.does("logout", "/logout")


def _gives_up(actor: Actor, who: Customer) -> Iterator[Step]:
    """Yield a session of somebody who opens the login, fails or thinks better of it, and goes."""
    yield actor.does("page_view", "/login")
    for _ in range(actor.dice.randrange(4)):
        yield actor.does("input", "/login", masked(who.user_id))
        yield actor.does("input", "/login", masked(f"typo {actor.dice.getrandbits(20)}"))
        yield actor.does("login_failed", "/login", quick=0.7)


def _switch_network(actor: Actor, who: Customer) -> None:
    """Let a phone leave home, or come back."""
    if actor.ip == who.home:
        actor.ip, actor.latency_log = mobile_address(who.carrier, actor.dice), actor.latency_log + 0.35
    else:
        actor.ip, actor.latency_log = who.home, who.latency_log
        actor.carrier = -1


def _a_new_payee(config: SimulatorConfig, dice: random.Random) -> str | None:
    """Return an account that is typed for the first time, where one is."""
    if dice.random() >= config.odd(config.new_payee_share):
        return None
    is_company = dice.random() < 0.5  # noqa: PLR2004 - a coin's toss
    return a_biller(dice) if is_company else f"account-{dice.getrandbits(40):010x}"


def read_by_program(who: Customer, dice: random.Random) -> Iterator[Step]:
    """Yield a session of a company that reads a customer's accounts for them: a program, and honest."""
    device, ip = aggregator(who.aggregator, dice)
    program = Hands(Rhythm(f"aggregator/{who.aggregator}", math.log(0.5), 0.3, 0.1), spread=0.1)
    actor = Actor(dice, program, device, ip, math.log(40), 0.2, clicks=0.0)
    yield from login(actor, who, 0.02)
    for _ in range(dice.randrange(2, 6)):
        yield from browse(actor, "balance")


def login(actor: Actor, who: Customer, typo_share: float, password: str | None = None) -> Iterator[Step]:
    """Yield a login, after as many failures as typos make.

    Args:
        actor: Whoever logs in.
        who: As whom.
        typo_share: How often it fails first.
        password: What is typed; None is the customer's own.
    """
    own_hands = actor.hands
    if who.has_manager and actor.label == 0 and own_hands.own is who.rhythm:  # the program is on their devices
        actor.hands = Hands(Rhythm("password manager", math.log(0.06), 0.1, 0.15), spread=0.15)
    typed = masked(password or f"password of {who.user_id}")
    yield actor.does("page_view", "/login", quick=1.0)
    yield actor.does("input", "/login", masked(who.user_id), quick=0.8)
    while actor.dice.random() < typo_share:
        yield actor.does("input", "/login", masked(f"typo {actor.dice.getrandbits(20)}"), quick=0.8)
        yield actor.does("login_failed", "/login", quick=0.7)
        typo_share *= 0.5
    yield actor.does("input", "/login", typed, quick=0.8)
    yield actor.does("login", "/login", quick=0.5)
    actor.hands = own_hands
    yield actor.does("page_view", "/home", quick=0.5)


def browse(actor: Actor, task: str, *, depth: int | None = None) -> Iterator[Step]:
    """Yield a task that moves no money: its pages as deep as one goes, with some clicks."""
    pages, dice = _PAGES[task], actor.dice
    for page in pages[: depth or dice.randrange(1, len(pages) + 1)]:
        yield actor.does("page_view", page)
        while dice.random() < actor.clicks / (1 + actor.clicks):
            yield actor.does("click", page)
    if task == "search":
        yield actor.does("input", "/search", masked(f"search {dice.randrange(400)}"))
        yield actor.does("click", "/search")
    if task in {"messages", "settings", "invest"} and dice.random() < 0.4:  # noqa: PLR2004 - a form is on these pages
        for _ in range(dice.randrange(1, 4)):
            yield actor.does("input", actor.page, masked(f"text {dice.getrandbits(30)}"))


def pay(actor: Actor, who: Customer, *, new: str | None) -> Iterator[Step]:
    """Yield a payment, to somebody known or to a new payee, whose account is typed.

    Args:
        actor: Whoever pays.
        who: Whose money it is.
        new: The account of the new payee.
    """
    dice = actor.dice
    yield actor.does("page_view", "/payments")
    if new is not None:
        yield actor.does("page_view", "/payees/new")
        yield actor.does("input", "/payees/new", masked(f"name {new}"))
        yield actor.does("input", "/payees/new", masked(new))
        yield actor.does("click", "/payees/new")
    elif dice.random() < 0.4:  # noqa: PLR2004 - others pick from the list
        payee = a_biller(dice) if dice.random() < 0.3 else dice.choice(who.payees)  # noqa: PLR2004 - bills
        yield actor.does("input", "/payments/account", masked(payee))
    else:
        yield actor.does("click", "/payments")
    yield actor.does("page_view", "/payments/amount")
    amount = dice.choice(_ROUND_AMOUNTS) if dice.random() < 0.5 else masked(f"amount-{dice.randrange(100_000)}")  # noqa: PLR2004
    yield actor.does("input", "/payments/amount", amount)
    yield actor.does("page_view", "/payments/review")
    yield actor.does("transfer", "/payments/review")
