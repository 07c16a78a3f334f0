"""Faults planted into the script, its fake or the router's state: checks that find none of them are broken."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

Change = tuple[str, str]


@dataclass(frozen=True)
class Fault:
    """What replaces what, in apply_split.lua, in the fake's rules.py and in modules of the core."""

    name: str
    lua: Change | None = None
    fake: Change | None = None
    control_view: Change | None = None
    routing_state: Change | None = None


FAULTS = (
    Fault(
        "no latch brought",
        lua=("if brought and brought > (latch", "if false and brought > (latch"),
        fake=("if brought is not None and brought > (", "if False and brought > ("),
    ),
    Fault(
        "latch does not stop steps",
        lua=("if latched then return {'refused'", "if false then return {'refused'"),
        fake=("if latch and not starts:", "if False:"),
    ),
    Fault(
        "remembered over a pending edit",
        lua=("if not pending() then write_split(registered.raw) end", "write_split(registered.raw)"),
        fake=(
            "            if not self.pending():\n                self.keys.split",
            "            if True:\n                self.keys.split",
        ),
    ),
    Fault("no read-again", lua=("return {'again'} end", "end"), fake=("return ReadAgain()", "pass")),
    Fault(
        "nothing remembered",
        lua=("if registered and (not applied or", "if false and (not applied or"),
        fake=("if registered and (applied is None or", "if False and (applied is None or"),
    ),
    Fault(
        "edit lost on rollback",
        lua=("if pending() then\n    local why = 'overtaken", "if false then\n    local why = 'overtaken"),
        fake=("        if self.pending():\n            lost", "        if False:\n            lost"),
    ),
    Fault(
        "overtaken counts as refused",
        lua=("return rejected.code == 'overtaken' or (", "return ("),
        fake=('return rejected.code == "overtaken" or (', "return ("),
    ),
    Fault(
        "rollout number used twice",
        lua=(
            "if fresh then next_split.rollout = top_rollout + 1 end",
            "if fresh then next_split.rollout = top_rollout end",
        ),
        fake=("            rollout = self.top_rollout + 1", "            rollout = self.top_rollout"),
    ),
    Fault(
        "a router's own split remembered",
        control_view=("if applied.registered and (self.registered", "if (self.registered"),
    ),
    Fault(
        "a release outlives its latch",
        lua=("  redis.call('DEL', RELEASE)\n  release = nil\n  note('latched'", "  note('latched'"),
        fake=('            keys.release = None\n            self.note("latched"', '            self.note("latched"'),
    ),
    Fault(
        "epoch not raised",
        lua=("elseif applied and applied.epoch < highest_epoch then", "elseif false then"),
        fake=("elif applied and applied.epoch < highest_epoch:", "elif False:"),
    ),
    Fault(
        "a step compares no epochs",
        lua=("if epoch ~= on then", "if false then"),
        fake=("if applied.epoch != step.on:", "if False:"),
    ),
    Fault(
        "a new version is no new rollout",
        lua=("  if another(applied) then", "  if false then"),
        fake=(
            "        if _another(applied.bound, compared):\n            self.top_rollout",
            "        if False:\n            self.top_rollout",
        ),
    ),
    Fault(
        "a late version is not bound",
        lua=("elseif lacks then", "elseif false then"),
        fake=("elif (applied.bound.stable is None and compared.stable) or", "elif False and"),
    ),
    Fault(
        "a promotion leaves the models",
        lua=(
            "models.previous, models.stable, models.promoted = models.stable, models.canary, applied.rollout",
            "local _",
        ),
        fake=("self.keys.models = replace(models, previous=", "replace(models, previous="),
    ),
    Fault(
        "a promoted rollout is another one",
        lua=("models.promoted == applied.rollout then\n    return models.previous", "false then\n    return nil"),
        fake=("applied.canary > 0 and models.promoted == applied.rollout", "False"),
    ),
    Fault(
        "a start takes a number again",
        lua=("if rollout <= top_rollout then", "if false then"),
        fake=("if starts and (step.rollout or 0) <= self.top_rollout:", "if False:"),
    ),
    Fault(
        "a latch keeps its state",
        lua=("  if state ~= latch.state then", "  if not latch.state then"),
        fake=("keys.latch = replace(latch, state=state,", "keys.latch = replace(latch, state=latch.state,"),
    ),
    Fault(
        "a refusal keeps its reason",
        lua=("if latched and rejected.code == 'latched' and", "if false and"),
        fake=('if is_holding and rejected and rejected.code == "latched" and', "if False and rejected and"),
    ),
    Fault("a router waits for Redis", routing_state=("now - self._waiting_since >= SCRIPT_DEADLINE_MS", "False")),
)


def planted(module: ModuleType, change: Change | None) -> ModuleType:
    """A copy of the module with the fault in its text."""
    if change is None:
        return module
    source = _changed(Path(str(module.__file__)).read_text(), change)
    copy = ModuleType(module.__name__)
    # dataclasses look their module up by its name, which stays that of the sound one
    exec(compile(source, str(module.__file__), "exec"), copy.__dict__)  # noqa: S102 - our own text
    return copy


def planted_script(script: str, fault: Fault) -> str:
    return _changed(script, fault.lua) if fault.lua else script


def _changed(text: str, change: Change) -> str:
    good, bad = change
    assert text.count(good) == 1, f"the fault's place is not unique: {good}"
    return text.replace(good, bad)
