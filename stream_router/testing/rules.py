"""The rules of apply_split.lua in Python, on keys in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from stream_router.core.rollout.status import RolloutStatus
from stream_router.core.routing.applied_split import (
    INITIAL_SPLIT,
    RAISED,
    REBOUND,
    REMEMBERED,
    AppliedSplit,
    Models,
    Versions,
)
from stream_router.core.routing.control_view import ControlView
from stream_router.core.routing.proposal import Proposal, Step
from stream_router.core.routing.split import ALL_STABLE_RAW
from stream_router.core.routing.split_store import Latch, LatchState, ReadAgain, Refusal, RefusalCode, StepRefused


@dataclass
class Keys:
    """`split` and `release` are what an operator set: bytes, None where missing, else the name of a wrong type."""

    split: bytes | str | None = None
    release: bytes | str | None = None
    applied: AppliedSplit | None = None
    rejected: Refusal | None = None
    latch: Latch | None = None
    models: Models = field(default_factory=Models)
    rollout: RolloutStatus | None = None
    history: list[dict[str, str]] = field(default_factory=list)


class Call:
    """One call of the script: the six rules, in their order."""

    def __init__(self, keys: Keys, release_key: str, view: ControlView, now: int, who: str) -> None:
        self.keys = keys
        self.release_key = release_key
        self.view = view
        self.now = now
        self.who = who
        applied, registered = keys.applied, view.registered
        self.top_epoch = max(applied.epoch if applied else 0, view.highest_epoch)
        self.top_rollout = max(
            applied.rollout if applied else 0,
            registered.rollout if registered else 0,
            view.latch or 0,
            keys.latch.rollout if keys.latch else 0,
        )

    def run(self, seen: Proposal, step: Step | None) -> AppliedSplit | ReadAgain | StepRefused:
        self.remember()
        rollout = self.rollout_in_force
        self.set_latch(rollout)
        latched = self.holding_latch(rollout)
        applied = self.keys.applied
        if latched and applied and applied.canary > 0:
            return self.roll_back(latched)
        self.bind_new_version()
        if step is not None:
            return self.take_step(step, latched)
        return self.judge(seen, latched)

    def remember(self) -> None:
        applied, registered, highest_epoch = self.keys.applied, self.view.registered, self.view.highest_epoch
        if registered and (applied is None or applied.epoch < registered.epoch):
            if not self.pending():
                self.keys.split = registered.raw
            same = applied and (applied.raw, applied.rollout, applied.bound) == (
                registered.raw,
                registered.rollout,
                registered.bound,
            )
            self.keys.models = registered.models
            self.put(
                "remembered",
                f"{REMEMBERED}: Redis had forgotten epoch {registered.epoch}",
                raw=registered.raw,
                canary=registered.canary,
                bound=registered.bound,
                rollout=max(registered.rollout, applied.rollout if applied else 0),
                epoch=registered.epoch if same and registered.epoch >= highest_epoch else self.top_epoch + 1,
            )
        elif applied and applied.epoch < highest_epoch:
            self.put("epoch raised", f"{RAISED} {highest_epoch}, which a router used without Redis")

    def set_latch(self, rollout: int) -> None:
        keys, brought, reason = self.keys, self.view.latch, self.view.latch_reason
        if brought is not None and brought > (keys.latch.rollout if keys.latch else 0):
            keys.latch = Latch(rollout=brought, reason=reason, time=self.now)
            keys.release = None
            self.note("latched", b"", f"rollout {brought} was rolled back: {reason}")
            if keys.models.promoted == brought:
                keys.models = replace(keys.models, stable=keys.models.previous, promoted=None)
        if keys.release is not None and not (self.released() and keys.latch and rollout <= keys.latch.rollout):
            self.note("release of nothing", keys.release, ":release named no holding latch and was deleted")
            keys.release = None
        if keys.latch is not None:
            self.tell_state(keys.latch, is_holding=self.holding_latch(rollout) is not None)

    def tell_state(self, latch: Latch, *, is_holding: bool) -> None:
        """What an operator reads: whether the latch holds and what ends it, also in a refusal that it brought."""
        keys, was_released = self.keys, latch.state == "released"
        state: LatchState = "holds" if is_holding else "released" if keys.release or was_released else "over"
        if state == "released" and not was_released:
            self.note(
                "released", keys.release or b"", f"rollout {latch.rollout} was released by: {self.command(latch)}"
            )
        keys.latch = replace(latch, state=state, command=self.command(latch) if is_holding else "")
        rejected, why = keys.rejected, self.latched_why(latch)
        if is_holding and rejected and rejected.code == "latched" and rejected.why != why:
            self.reject(rejected, "latched", why)

    def roll_back(self, latch: Latch) -> AppliedSplit:
        if self.pending():
            lost = proposal_of(self.keys.split)
            why = f"overtaken by the rollback of rollout {latch.rollout}: SET it again if it is still wanted"
            self.reject(lost, "overtaken", why)
            self.note("overtaken", lost.raw, why)
        self.keys.split = ALL_STABLE_RAW
        return self.put(
            "rolled back",
            f"rolled back rollout {latch.rollout}: {latch.reason}",
            raw=ALL_STABLE_RAW,
            canary=0.0,
        )

    def bind_new_version(self) -> None:
        applied, models, compared = self.keys.applied, self.keys.models, self.compared_models
        if applied is None or applied.canary == 0:
            return
        if _another(applied.bound, compared):
            self.top_rollout += 1
            why = f"another model version was registered: rollout {self.top_rollout}"
            self.put(
                "new version", why, rollout=self.top_rollout, bound=Versions(stable=models.stable, canary=models.canary)
            )
        elif (applied.bound.stable is None and compared.stable) or (applied.bound.canary is None and compared.canary):
            self.put("bound", REBOUND, **self.under(applied.canary))

    def take_step(self, step: Step, latch: Latch | None) -> AppliedSplit | StepRefused:
        why, models = next(self.objections(step, latch), None), self.keys.models
        if why is not None:
            return StepRefused(why)
        rollout = self.rollout_in_force
        if step.promote:
            self.keys.models = replace(models, previous=models.stable, stable=models.canary, promoted=rollout)
            return self.put("promoted", f"promotion of rollout {rollout}")
        self.keys.split = step.raw
        if step.start is None:
            return self.put("step", f"step of rollout {rollout}", raw=step.raw, **self.under(step.canary))
        self.keys.models = replace(models, canary=step.start)
        return self.put(
            "started",
            f"start of rollout {step.rollout}: canary is version {step.start}",
            raw=step.raw,
            canary=0.0,
            rollout=step.rollout,
            bound=Versions(stable=models.stable, canary=step.start),
        )

    def objections(self, step: Step, latch: Latch | None) -> Iterator[str]:
        """Why the step is refused; the first is told."""
        applied, starts = self.keys.applied or INITIAL_SPLIT, step.start is not None
        if self.keys.applied is None and not starts:
            yield "no split has been applied yet"
        if latch and not starts:
            yield f"the latch of rollout {latch.rollout} holds"
        if self.pending():
            yield "an edit of the split is pending"
        if applied.epoch != step.on:
            yield f"decided on epoch {step.on}, but epoch {applied.epoch} is in force"
        if starts and (step.rollout or 0) <= self.top_rollout:
            yield f"rollout {step.rollout} cannot begin: rollout {self.top_rollout} is known already"
        if starts and applied.canary > 0:
            yield "canary has a share: a rollout begins with none"
        if step.promote and (applied.canary == 0 or self.keys.models.canary is None):
            yield "a promotion needs a canary with a share and a registered model version"
        rollout = applied.rollout if step.promote else self.under(step.canary)["rollout"]
        if step.rollout is not None and not starts and rollout != step.rollout:
            yield f"a step of rollout {step.rollout}, but the split would be one of rollout {rollout}"

    def judge(self, seen: Proposal, latch: Latch | None) -> AppliedSplit | ReadAgain:
        if self.pending():
            now_there = proposal_of(self.keys.split)
            if (seen.type, seen.raw) != (now_there.type, now_there.raw):
                return ReadAgain()
            if seen.canary is None:
                self.refuse(seen, "invalid", seen.refusal or "")
            elif seen.canary > 0 and latch:
                self.refuse(seen, "latched", self.latched_why(latch))
            else:
                self.put("applied", "proposed in :split", raw=seen.raw, **self.under(seen.canary))
        return self.keys.applied or INITIAL_SPLIT

    @property
    def compared_models(self) -> Models:
        """`:models` as the rollout in force is compared with them: once promoted, against the previous one."""
        applied, models = self.keys.applied, self.keys.models
        if applied and applied.canary > 0 and models.promoted == applied.rollout:
            return replace(models, stable=models.previous)
        return models

    @property
    def rollout_in_force(self) -> int:
        return self.keys.applied.rollout if self.keys.applied else 0

    def released(self) -> bool:
        return self.keys.latch is not None and self.keys.release == str(self.keys.latch.rollout).encode()

    def holding_latch(self, rollout: int) -> Latch | None:
        latch = self.keys.latch
        return latch if latch and rollout <= latch.rollout and not self.released() else None

    def pending(self) -> bool:
        applied, rejected, split = self.keys.applied, self.keys.rejected, proposal_of(self.keys.split)
        if (applied and split.type == "string" and applied.raw == split.raw) or (
            applied is None and split.type == "none"
        ):
            return False
        if rejected and (rejected.type, rejected.raw) == (split.type, split.raw):
            return rejected.code == "overtaken" or (
                rejected.code == "latched" and not self.holding_latch(self.rollout_in_force)
            )
        return True

    def under(self, canary: float) -> dict[str, Any]:
        """Weight, rollout and versions of the next split."""
        applied, models = self.keys.applied, self.compared_models
        rollout = self.rollout_in_force
        bound = Versions(stable=models.stable, canary=models.canary)
        latched = self.keys.latch.rollout if self.keys.latch else 0
        resumed = applied is None or (applied.canary == 0 and (_another(applied.bound, models) or latched >= rollout))
        if canary > 0 and (rollout == 0 or resumed):
            rollout = self.top_rollout + 1
        elif applied and canary > 0:
            bound = Versions(stable=bound.stable or applied.bound.stable, canary=bound.canary or applied.bound.canary)
        elif applied:
            bound = applied.bound
        return {"canary": canary, "rollout": rollout, "bound": bound}

    def put(self, what: str, why: str, **new: Any) -> AppliedSplit:
        rollout_before, latch = self.rollout_in_force, self.keys.latch
        applied = replace(self.keys.applied or INITIAL_SPLIT, **{"epoch": self.top_epoch + 1, **new})
        applied = replace(applied, models=self.keys.models, time=self.now, who=self.who, why=why)
        self.top_epoch = applied.epoch
        self.keys.applied = applied
        self.note(what, applied.raw, why)
        if latch and self.released() and rollout_before <= latch.rollout < applied.rollout:
            self.keys.release = None  # it has served its turn
        return applied

    def refuse(self, document: Proposal, code: RefusalCode, why: str) -> None:
        self.reject(document, code, why)
        self.note("refused", document.raw, why)

    def command(self, latch: Latch) -> str:
        return f"SET {self.release_key} {latch.rollout}"

    def latched_why(self, latch: Latch) -> str:
        because = f" ({latch.reason})" if latch.reason else ""
        until = f"canary gets no share before a person ends the latch with: {self.command(latch)}"
        return f"rollout {latch.rollout} was rolled back{because}: {until}"

    def reject(self, document: Proposal | Refusal, code: RefusalCode, why: str) -> None:
        self.keys.rejected = Refusal(type=document.type, raw=document.raw, code=code, why=why, time=self.now)

    def note(self, what: str, raw: bytes | str, why: str) -> None:
        text = raw if isinstance(raw, str) else raw.decode(errors="backslashreplace")
        self.keys.history.append(
            {
                "what": what,
                "why": why,
                "raw": text,
                "epoch": str(self.top_epoch),
                "time": str(self.now),
                "who": self.who,
            },
        )


def proposal_of(split: bytes | str | None) -> Proposal:
    return (
        Proposal.of(split)
        if isinstance(split, str)
        else Proposal.of("none" if split is None else "string", split or b"")
    )


def _another(bound: Versions, models: Models) -> bool:
    """Two versions differ in a lane where both name one: an absent version is never another."""
    return any(
        was is not None and is_ is not None and was != is_
        for was, is_ in ((bound.stable, models.stable), (bound.canary, models.canary))
    )
