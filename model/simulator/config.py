"""Every number of the simulated bank, in one place, and worlds that differ from it."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

ATTACK_MIX = {
    "credential_stuffing": 0.2,
    "account_takeover": 0.18,
    "session_hijack": 0.14,
    "scripted_client": 0.1,
    "remote_access_scam": 0.1,
    "mule_payee": 0.1,
    "dormant_revival": 0.06,
    "fast_appraisal": 0.12,
}
"""Attack kinds and how often each comes, among the attacks."""


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """The parameters of the bank. Shares are of sessions, if nothing else is said; logarithms are natural ones.

    Honest customers do much of what attackers do, only less often, and attackers stay inside what customers do: that is
    what makes the task one. The defaults were frozen before the model was tuned (`tests/model/test_difficulty.py`).

    Attributes:
        customers: How many customers the bank has.
        sessions_a_week: Median of a customer's sessions a week; `activity_spread` is the spread of its logarithm.
        activity_spread: See above.
        dormant_share: Customers who stay away for weeks.
        attack_share: Sessions that are, or become, an attack.
        attack_mix: How often each attack kind comes, among the attacks; any positive weights.
        difficulty: 0: attackers are clumsy and customers regular; 1: attackers know their victim's habits and customers
            are odd. Scales `imitation` and every share of oddities below.
        imitation: How far an attacker's rhythm is the victim's at difficulty 1, at most: 0 not at all, 1 completely.
        tempo: Bounds of the factor on an attacker's pauses, before imitation.
        attack_foreign_share: Attackers who come from another country's network.
        drift: How quickly habits change, as a factor: new phones, moves, rhythm.
        phone_days: Mean days until a customer has a new phone, at drift 1.
        rhythm_drift: Spread by which the logarithm of a customer's pauses wanders in 30 days, at drift 1.
        new_payee_share: Honest payments that go to a new payee.
        traveller_share: Customers who are abroad for a week, in any month.
        helped_share: Honest sessions in which somebody else's hands help.
        address_hop_share: Honest mobile sessions in which the address may change again and again.
        network_switch_share: Honest sessions in which a phone leaves home or comes back to it.
        password_manager_share: Customers whose login is filled in by a program.
        aggregator_share: Customers whose accounts another company's program reads every day.
        typo_share: Median share of a customer's logins that fail once; half as many fail twice, and so on.
        gives_up_share: Honest sessions that end at the login.
        pause_seconds: Median pause of a median customer before they open a page; other events come quicker.
        pause_spread: Spread of the logarithm of pauses from moment to moment.
        regularity_spread: Spread of the logarithm of that from customer to customer.
        step_spread: Spread of the logarithm of a customer's own pauses from step to step.
        customer_spread: Spread of the logarithm of the median pause from customer to customer.
        mood_spread: Spread of the logarithm of the pauses from session to session of a customer.
        latency_ms: Median page latency; customers, networks and moments vary around it.
        mean_tasks: Median over the customers of the mean number of things one does in a session; each is two to eight
            events.
        task_spread: Spread of the logarithm of that mean from customer to customer.
        known_by_hours: Median hours until the bank knows of an attack; a tenth take ten times as long.
        out_of_order_share: Events (not sessions) whose timestamp is earlier than their place in the stream.
        out_of_order_ms: By how much at most.
    """

    customers: int = 3_000
    sessions_a_week: float = 2.6
    activity_spread: float = 0.7
    dormant_share: float = 0.08
    attack_share: float = 0.03
    attack_mix: Mapping[str, float] = field(default_factory=lambda: dict(ATTACK_MIX))
    difficulty: float = 0.5
    imitation: float = 0.8
    tempo: tuple[float, float] = (0.45, 0.95)
    attack_foreign_share: float = 0.4
    drift: float = 1.0
    phone_days: float = 150.0
    rhythm_drift: float = 0.08
    new_payee_share: float = 0.15
    traveller_share: float = 0.06
    helped_share: float = 0.02
    address_hop_share: float = 0.5
    network_switch_share: float = 0.16
    password_manager_share: float = 0.3
    aggregator_share: float = 0.03
    typo_share: float = 0.08
    gives_up_share: float = 0.06
    pause_seconds: float = 5.0
    pause_spread: float = 0.55
    regularity_spread: float = 0.3
    step_spread: float = 0.45
    customer_spread: float = 0.45
    mood_spread: float = 0.15
    latency_ms: float = 90.0
    mean_tasks: float = 3.2
    task_spread: float = 0.5
    known_by_hours: float = 20.0
    out_of_order_share: float = 0.01
    out_of_order_ms: int = 3_000

    def odd(self, share: float) -> float:
        """Return a share of oddities of honest customers at this difficulty; it is what it says at 0.5."""
        return min(share * 2 * self.difficulty, 1.0)


def another_world(config: SimulatorConfig, number: int) -> SimulatorConfig:
    """Return a bank whose attackers, customers and drift are others: to judge a model by what it has never seen.

    Args:
        config: The bank that is changed.
        number: Which one; 0 is the bank itself.
    """
    if number == 0:
        return config
    dice = random.Random(f"world/{number}")  # noqa: S311 - a simulation, not a secret
    low = dice.uniform(0.35, 0.55)
    return replace(
        config,
        attack_share=config.attack_share * dice.uniform(0.6, 1.3),
        attack_mix={kind: share * dice.uniform(0.6, 1.6) for kind, share in config.attack_mix.items()},
        imitation=min(config.imitation * dice.uniform(0.8, 1.15), 0.95),
        tempo=(low, low + dice.uniform(0.4, 0.6)),
        attack_foreign_share=dice.uniform(0.2, 0.6),
        drift=config.drift * dice.uniform(0.7, 1.5),
        helped_share=config.helped_share * dice.uniform(0.5, 1.5),
        traveller_share=config.traveller_share * dice.uniform(0.5, 1.5),
        pause_seconds=config.pause_seconds * dice.uniform(0.85, 1.2),
        latency_ms=config.latency_ms * dice.uniform(0.8, 1.3),
        mean_tasks=config.mean_tasks * dice.uniform(0.85, 1.15),
    )
