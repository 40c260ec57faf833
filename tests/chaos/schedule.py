"""What is done to the bot, and when: a pure function of the seed, so that a failure can be had again.

A step is a pause and one to three acts at one moment. A pause or flatten is lifted by a later `resume`; what is
stopped goes on after its seconds, whoever was killed meanwhile.
"""

import random
from dataclasses import dataclass

STAGES = ("sandbox", "feeder", "indicators", "trader", "storage", "dashboard", "watchdog")
LONGEST_STOP_S = 8.0
SHORT_STOP_S = 2.0

# How often each kind comes, in parts of their sum.
KINDS = {
    "kill": 48,  # -9
    "term": 14,
    "stop": 20,  # SIGSTOP for `seconds`, then SIGCONT
    "command": 10,  # pause or flatten
    "restart": 5,  # with unchanged settings, as `make restart`: mostly one stage, now and then all
    "supervisord": 3,  # kill -9 of supervisord; `make start` after `seconds`
}


@dataclass(frozen=True, slots=True)
class Act:
    """One disturbance. `target` is a stage (empty: all), or what the operator says."""

    kind: str
    target: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        after = {"stop": "for", "supervisord": "started again after"}.get(self.kind, "")
        return " ".join(part for part in (self.kind, self.target, after and f"{after} {self.seconds:.1f} s") if part)


@dataclass(frozen=True, slots=True)
class Step:
    """`acts` at one moment, `gap_s` after the step before."""

    gap_s: float
    acts: tuple[Act, ...]


def schedule(seed: int, rounds: int) -> list[Step]:
    """`rounds` acts in steps, the same for the same seed; the first of a longer schedule are those of a shorter one."""
    dice = random.Random(seed)
    steps: list[Step] = []
    left = rounds
    lift_in = 0  # steps until what the operator said is lifted
    while left > 0:
        many = dice.choices((1, 2, 3), weights=(80, 15, 5))[0]
        gap_s = dice.uniform(0.2, 3.0)
        acts = [_act(dice) for _ in range(many)]
        lift_in -= 1
        if lift_in == 0:
            acts[0] = Act("command", "resume")
        elif any(act.kind == "command" for act in acts):
            lift_in = dice.randrange(1, 4)
        steps.append(Step(gap_s, tuple(acts[:left])))
        left -= many
    return steps


def _act(dice: random.Random) -> Act:
    kind = dice.choices(list(KINDS), weights=list(KINDS.values()))[0]
    stage = dice.choice(STAGES)
    if kind == "stop":
        long = dice.random() < 0.3
        return Act(kind, stage, dice.uniform(5.2, LONGEST_STOP_S) if long else dice.uniform(0.1, SHORT_STOP_S))
    if kind == "command":
        return Act(kind, dice.choice(("pause", "flatten")))
    if kind == "supervisord":
        return Act(kind, "", dice.uniform(0.0, 4.0))
    if kind == "restart" and dice.random() < 0.2:
        return Act(kind, "")
    return Act(kind, stage)
