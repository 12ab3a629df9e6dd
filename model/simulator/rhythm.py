"""How quickly somebody's hands and eyes go from one event to the next: a habit, step by step."""

import math
import random
from dataclasses import dataclass, field

_KIND_LOG = {"page_view": 0.0, "click": -0.45, "input": -0.3}
"""Of the pause before each kind of event, against that before a page; other events are as quick as clicks."""

_LEAST_SECONDS, _MOST_SECONDS = 0.02, 900.0


@dataclass(slots=True)
class Rhythm:
    """The pauses of one person, or of one program.

    Attributes:
        name: Whose; the same name has the same habits.
        log_seconds: Logarithm of the median pause before a page is opened.
        step_spread: How far the person's medians differ from step to step.
        spread: How far moments differ.
    """

    name: str
    log_seconds: float
    step_spread: float
    spread: float
    _steps: dict[tuple[str, str, str], float] = field(default_factory=dict)

    def median_log(self, before: str, page: str, kind: str) -> float:
        """Return the logarithm of this person's median pause before a step."""
        step = (before, page, kind)
        known = self._steps.get(step)
        if known is None:
            dice = random.Random(f"{self.name}/{before}/{page}/{kind}")  # noqa: S311 - a simulation, not a secret
            known = self._steps[step] = self.log_seconds + _KIND_LOG.get(kind, -0.45) + dice.gauss(0, self.step_spread)
        return known


@dataclass(frozen=True, slots=True)
class Hands:
    """Whoever's hands are at work now: their own rhythm, as far as they do not imitate another's.

    Attributes:
        own: Their rhythm.
        victim: Whom they imitate, None for nobody.
        imitation: How far, 0 to 1.
        mood_log: On the logarithm of all pauses of this session.
        spread: How far moments differ.
    """

    own: Rhythm
    victim: Rhythm | None = None
    imitation: float = 0.0
    mood_log: float = 0.0
    spread: float = 0.55

    def pause_ms(self, dice: random.Random, before: str, page: str, kind: str, quick: float) -> int:
        """Return a pause before a step; `quick` shortens it."""
        log = self.own.median_log(before, page, kind)
        if self.victim is not None:
            log += self.imitation * (self.victim.median_log(before, page, kind) - log)
        seconds = quick * math.exp(log + self.mood_log + dice.gauss(0, self.spread))
        return int(min(max(seconds, _LEAST_SECONDS), _MOST_SECONDS) * 1000)
