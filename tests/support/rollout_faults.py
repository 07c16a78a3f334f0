"""Faults planted into the rollout's machine: laws that find none of them are broken."""

from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple

import pytest
from support import rollout_world
from support.split_faults import planted

from stream_router.core.rollout import conditions, machine, rollout_state, verbs


class Place(NamedTuple):
    """A module, and where what is used of it is looked up."""

    module: ModuleType
    user: ModuleType
    name: str


MACHINE = Place(machine, machine, "decide")
VERBS = Place(verbs, machine, "answer")
CONDITIONS = Place(conditions, machine, "waits_for")
STATE = Place(rollout_state, rollout_world, "RolloutState")


@dataclass(frozen=True)
class Fault:
    """What replaces what, and the law that finds it."""

    name: str
    place: Place
    good: str
    bad: str
    law: str

    def plant(self, monkeypatch: pytest.MonkeyPatch) -> None:
        copy = planted(self.place.module, (self.good, self.bad))
        monkeypatch.setattr(self.place.user, self.place.name, getattr(copy, self.place.name))


FAULTS = (
    Fault(
        "the script before the record",
        MACHINE,
        "        return Write(record)",
        "        return Call(record.asks) if getattr(record, 'asks', None) else Write(record)",
        "the script was called before the record was written",
    ),
    Fault(
        "a step is repeated after an operator's SET",
        MACHINE,
        "law.origin <= asks.on",
        "True",
        "a step was taken twice",
    ),
    Fault(
        "what was lost is asked for no more",
        MACHINE,
        "if applied.epoch > asks.on and law.origin <= asks.on:",
        "if False:",
        "a rollout paused though nobody has touched the split",
    ),
    Fault(
        "an operator's SET is passed over",
        MACHINE,
        'state.phase == "Paused" or state.is_as_meant(law)',
        "True",
        "a step went on from an operator's split that nobody has resumed",
    ),
    Fault(
        "all is stable's at once",
        MACHINE,
        "    if waits_for(state, turn.law, turn.now, turn.inputs):\n        return None\n    jobs",
        "    jobs",
        "all is stable's before its jobs serve the version",
    ),
    Fault(
        "canary gets requests at once",
        CONDITIONS,
        "if not any(job.version == state.version for job in serving):",
        "if False:",
        "canary gets requests that no job of its version answers",
    ),
    Fault(
        "holds hold nothing",
        CONDITIONS,
        '        case "Progressing":\n            return (*_progressing(state, law, now, inputs), *_person(state))',
        '        case "Progressing":\n            return ()',
        "a rollout went on while something held it",
    ),
    Fault(
        "an expired command is carried out",
        VERBS,
        "if asked.now > command.expires_at:",
        "if False:",
        "an expired command was carried out",
    ),
    Fault(
        "two terminals are both obeyed",
        VERBS,
        "if command.seen < state.newest:",
        "if False:",
        "a command was carried out on an old view",
    ),
    Fault(
        "a start takes a number again",
        VERBS,
        "1 + max(applied.rollout, state.latch, state.rollout)",
        "max(1, applied.rollout)",
        "a healthy version was not promoted",
    ),
    Fault(
        "a command is answered twice",
        STATE,
        "known = {*self.answered, *(command.id for command in self.open)}",
        "known = set()",
        "a command was answered twice",
    ),
    Fault(
        "a transition outlives the rollback",
        STATE,
        "if record.rollout > self.latch else self",
        "if True else self",
        "a rollout is led after its rollback",
    ),
    Fault(
        "the fold of one log looks at the other's",
        STATE,
        "return replace(self, in_force=self.in_force.then(applied))",
        "return replace(self, in_force=self.in_force.then(applied), approved=self.is_led)",
        "a successor folds the log to another state",
    ),
)
