"""Every number of the simulated bank, in one place."""

from collections.abc import Mapping
from dataclasses import dataclass, field

ATTACK_MIX = {
    "credential_stuffing": 0.25,
    "account_takeover": 0.25,
    "scripted_client": 0.15,
    "session_hijack": 0.2,
    "fast_appraisal": 0.15,
}
"""Attack kinds and how often each comes, among the attacks."""


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """The parameters of the bank. Shares are of sessions, if nothing else is said.

    Honest customers do much of what attackers do, only less often: that is what makes the task one.

    Attributes:
        customers: How many customers the bank has.
        attack_share: Sessions that are, or become, an attack.
        attack_mix: How often each attack kind comes, among the attacks; any positive weights.
        disguise: How far attackers imitate the customer's rhythm: 0 not at all, 1 completely.
        new_device_share: Honest sessions from a device the bank has not seen.
        traveller_share: Honest sessions from a foreign network.
        address_hop_share: Honest sessions in which the address changes, as with mobile networks.
        typo_share: Honest logins that fail once; half as many fail twice, and so on.
        pause_seconds: Median pause between two events; customers and moments vary around it.
        pause_spread: Spread of the logarithm of pauses from moment to moment.
        customer_spread: Spread of the logarithm of the median pause from customer to customer.
        mean_steps: Mean number of things an honest customer does in a session; each is one to five events.
        transfer_share: Honest things done that end in a transfer.
        out_of_order_share: Events (not sessions) whose timestamp is earlier than their place in the stream.
        out_of_order_ms: By how much at most.
    """

    customers: int = 20_000
    attack_share: float = 0.04
    attack_mix: Mapping[str, float] = field(default_factory=lambda: dict(ATTACK_MIX))
    disguise: float = 0.6
    new_device_share: float = 0.04
    traveller_share: float = 0.03
    address_hop_share: float = 0.06
    typo_share: float = 0.12
    pause_seconds: float = 4.0
    pause_spread: float = 0.8
    customer_spread: float = 0.45
    mean_steps: float = 6.0
    transfer_share: float = 0.16
    out_of_order_share: float = 0.01
    out_of_order_ms: int = 3_000
