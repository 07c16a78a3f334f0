"""A world around the script: operators, routers that stall and die, a controller, a Redis that goes away or forgets.

Every act is a method; `faults` names the rules that broke. The rules and their checks are independent of the script.
"""

from typing import Any

from support.split_benches import Bench

from stream_router.core.routing.applied_split import INITIAL_SPLIT, AppliedSplit, Models
from stream_router.core.routing.proposal import Proposal, Step
from stream_router.core.routing.routing_state import SCRIPT_DEADLINE_MS, RoutingState
from stream_router.core.routing.split import ALL_STABLE_RAW
from stream_router.core.routing.split_store import ReadAgain, StepRefused

Document = tuple[str, bytes]
MISSING: Document = ("none", b"")
LIST: Document = ("list", b"")
PUT_IN_FORCE = ("applied", "step", "promoted")


def weight_of(document: Document) -> float | None:
    return Proposal.of(*document).canary


def document(number: int, canary: float | None) -> Document:
    """A document that no other number gives; canary None makes an invalid one."""
    text = (
        f"document {number}" if canary is None else f'{{"stable": {1 - canary:g}, "canary": {canary:g}}}{" " * number}'
    )
    return "string", text.encode()


class Router:
    def __init__(self, world: "World") -> None:
        self.world = world
        self.state = RoutingState(who="router")
        self.seen: Proposal | None = None
        self.splits_read = self.events_read = 0
        self.cut = False

    @property
    def reachable(self) -> bool:
        return not self.cut and not self.world.away

    def follow(self, most: int | None = None) -> None:
        """Read on. A rollback of the rollout routed by, or a later one, is obeyed by the script or without it."""
        world, state = self.world, self.state
        for applied in world.splits[self.splits_read :][:most]:
            self.splits_read += 1
            state.on_split(applied)
        for rollout in world.events[self.events_read :][:most]:
            self.events_read += 1
            state.on_rollback(rollout, "worse", world.now)
        if state.in_force.canary > 0 and state.view.latch is not None and state.in_force.rollout <= state.view.latch:
            if self.reachable:
                self.look()
                self.call()
            else:
                epoch = state.in_force.epoch
                world.now += SCRIPT_DEADLINE_MS
                declared = state.on_time(world.now)
                if not declared or state.in_force.canary > 0 or state.in_force.epoch <= epoch:
                    world.broken("a rollback waited for Redis", state.in_force)
                self.write()

    def look(self) -> None:
        self.seen = self.world.bench.store.look()

    def call(self, step: Step | None = None) -> AppliedSplit | ReadAgain | StepRefused | None:
        if self.seen is None:
            return None
        world, view, store = self.world, self.state.view, self.world.bench.store
        known_latch = view.latch or 0
        latched, in_force, before = max(known_latch, world.latch), world.rollout_in_force, len(store.history(10_000))
        in_force = max(in_force, view.registered.rollout if view.registered else 0)
        release = world.release_number if world.latch >= known_latch else None  # none is older than its latch
        world.now += 1
        reply = store.call(view, self.seen, now=world.now, who="router", step=step)
        applied, made = store.applied(), len(store.history(10_000)) - before
        if applied and applied.canary > 0 and world.holds(applied.rollout):
            world.broken("canary has a share under a latch", applied)
        for entry in reversed(store.history(made) if made else []):
            if entry["what"] == "applied" and entry["raw"].encode() != world.bench.split():
                world.broken("a stalled router brought an old split back", entry)
            if (
                entry["what"] in PUT_IN_FORCE
                and latched
                and in_force <= latched
                and release != latched
                and (entry["what"] == "promoted" or (applied and applied.canary > 0))
            ):
                world.broken("restarted or promoted without a release", applied)
            if entry["what"] == "release of nothing" and latched and in_force <= latched and release == latched:
                world.broken("a release of the latch was called one of nothing", entry)
        if isinstance(reply, AppliedSplit):
            self.adopt(reply)
        return reply

    def adopt(self, applied: AppliedSplit) -> None:
        world, state = self.world, self.state
        if applied.epoch < state.in_force.epoch:
            world.broken("a router's epoch fell", applied)
        if applied.canary > 0 and applied.rollout <= (state.view.latch or 0):
            world.broken("canary routed after its rollback was known", applied)
        state.on_applied(applied, world.now)
        self.write()

    def write(self) -> None:
        """The first transaction under a split."""
        applied = self.state.in_force
        if self.state.must_write(applied):
            self.world.splits.append(applied)
            self.state.on_written(applied)


class World:
    def __init__(self, bench: Bench, *, routers: int = 3) -> None:
        self.bench = bench
        self.now = 1_000_000
        self.splits: list[AppliedSplit] = []
        self.events: list[int] = []
        self.faults: list[str] = []
        self.details: list[object] = []
        self.away = self.has_forgotten = False
        self.last_edit: Document | None = None
        self.to_remember: AppliedSplit | None = None
        self.routers = [Router(self) for _ in range(routers)]

    def broken(self, applied: str, detail: object = None) -> None:
        self.faults.append(applied)
        self.details.append(detail)

    # What the keys say.

    @property
    def rollout_in_force(self) -> int:
        applied = self.bench.store.applied()
        return applied.rollout if applied else 0

    @property
    def latch(self) -> int:
        latch = self.bench.store.latch()
        return latch.rollout if latch else 0

    @property
    def release_number(self) -> int | None:
        return self.bench.release_number()

    def holds(self, rollout: int) -> bool:
        return self.latch > 0 and rollout <= self.latch and self.release_number != self.latch

    def split(self) -> Document:
        split = self.bench.split()
        return ("none", b"") if split is None else (split, b"") if isinstance(split, str) else ("string", split)

    def is_pending(self) -> bool:
        applied, rejected, split = self.bench.store.applied(), self.bench.store.rejected(), self.split()
        if split == (("string", applied.raw) if applied else MISSING):
            return False
        if rejected and (rejected.type, rejected.raw) == split:
            return rejected.code == "overtaken" or (
                rejected.code == "latched" and not self.holds(applied.rollout if applied else 0)
            )
        return True

    # What people and processes do.

    def edit(self, edit: Document) -> None:
        deleted_unseen = edit == MISSING and self.bench.store.applied() is None
        if edit == MISSING:
            self.bench.delete("split")
        elif edit[0] == "string":
            self.bench.store.propose(edit[1])
        else:
            self.bench.make_list("split")
        self.last_edit, self.to_remember = None if deleted_unseen else edit, None

    def roll_back(self, rollout: int) -> None:
        self.events.append(rollout)
        self.to_remember = None

    def register(self, lane: str, version: str) -> None:
        self.bench.put_model(lane, version)

    def forget(self, snapshot: Any) -> None:
        self.bench.restore(snapshot)
        self.last_edit, self.has_forgotten = None, True
        registered = [applied for applied in self.splits if applied.registered]
        rejected = self.bench.store.rejected()
        refused = rejected is not None and (rejected.type, rejected.raw) == self.split()
        newest = max(registered, key=lambda applied: applied.epoch) if registered else None
        self.to_remember = None if self.is_pending() or refused else newest
        for router in self.routers:
            router.seen = None

    def kill(self, router: Router) -> None:
        self.routers[self.routers.index(router)] = Router(self)

    def step(self, router: Router, *, canary: float, promote: bool, stale: bool) -> None:
        """The controller's step, through a router's eyes."""
        self.to_remember = None
        router.follow()
        router.look()
        applied = self.bench.store.applied()
        if applied is None or not router.reachable:
            return
        models = self.bench.store.models()
        reply = router.call(Step(on=applied.epoch - stale, canary=0.0 if promote else canary, promote=promote))
        if stale and isinstance(reply, AppliedSplit) and reply.canary and reply.why.startswith(("step", "promotion")):
            self.broken("a step on an old epoch was taken", reply)
        if isinstance(reply, AppliedSplit) and reply.why.startswith("promotion"):
            promoted = Models(models.canary, models.canary, models.stable, applied.rollout)
            if self.bench.store.models() != promoted:
                self.broken("a promotion did not exchange the models", self.bench.store.models())
            if (reply.rollout, reply.raw, reply.bound) != (applied.rollout, applied.raw, applied.bound):
                self.broken("a promotion changed more than the models", reply)
            after = router.call()
            if not self.is_pending() and isinstance(after, AppliedSplit) and after.rollout != reply.rollout:
                self.broken("a promoted rollout became another one", after)

    def start(self, router: Router, version: str, *, number: int) -> None:
        """The controller's start of a rollout that is `number` above the highest it knows."""
        self.to_remember = None
        router.follow()
        router.look()
        if not router.reachable:
            return
        applied, known = self.bench.store.applied(), max(self.latch, *self.events, self.rollout_in_force, 0, 0)
        epoch, rollout = applied.epoch if applied else 0, max(1, known + number)
        reply = router.call(Step(on=epoch, rollout=rollout, start=version))
        if isinstance(reply, AppliedSplit) and reply.why.startswith("start"):
            if rollout <= known:
                self.broken("a rollout's number was given twice", reply)
            if reply.canary or self.bench.store.models().canary != version or reply.bound.canary != version:
                self.broken("a start does not give canary its version and no share", reply)

    def settle(self, rounds: int) -> None:
        for _ in range(rounds):
            for router in self.routers:
                router.follow()
                router.look()
                router.call()

    def finish(self) -> None:
        """Redis comes back and all is quiet: what must be true now."""
        self.away = False
        for router in self.routers:
            router.cut = False
        self.settle(6)
        self._check_quiet()
        self._check_seen()
        self._check_obedience()

    def _check_quiet(self) -> None:
        applied, latched = self.bench.store.applied(), max(self.events, default=0)
        if applied:
            for router in self.routers:
                if (router.state.in_force.epoch, router.state.in_force.raw) != (applied.epoch, applied.raw):
                    self.broken("routers do not agree when all is quiet", router.state.in_force)
            if applied.canary > 0 and applied.rollout <= latched:
                self.broken("canary has a share after its rollback", applied)
            if self.is_pending():
                self.broken("a document stays pending when all is quiet", self.split())
            if applied.epoch < max((record.epoch for record in self.splits), default=0):
                self.broken("an epoch that some router used is above that in force", applied)
            self._check_versions(applied)
        self._check_latch()
        if not self.has_forgotten:
            self._check_memory()

    def _check_latch(self) -> None:
        """What an operator reads of it."""
        latch, rejected = self.bench.store.latch(), self.bench.store.rejected()
        if latch is None:
            return
        holds, command = self.holds(self.rollout_in_force), f"SET {self.bench.route.key('release')} {latch.rollout}"
        if (latch.state == "holds", latch.command) != (holds, command if holds else ""):
            self.broken("a latch does not tell whether it holds", latch)
        if holds and rejected and rejected.code == "latched" and not rejected.why.endswith(command):
            self.broken("a refusal names a command that ends no latch", rejected)

    def _check_versions(self, applied: AppliedSplit) -> None:
        models = self.bench.store.models()
        stable = models.previous if models.promoted == applied.rollout else models.stable
        for bound, registered in ((applied.bound.stable, stable), (applied.bound.canary, models.canary)):
            if applied.canary > 0 and registered is not None and bound != registered:
                self.broken("a rollout runs with another model version than its own", applied)

    def _check_memory(self) -> None:
        """What holds as long as Redis forgets nothing."""
        if any(entry["what"] == "remembered" for entry in self.bench.store.history(10_000)):
            self.broken("remembered what nobody forgot")
        raw_of: dict[int, bytes] = {}
        for record in self.splits:
            if record.registered and raw_of.setdefault(record.epoch, record.raw) != record.raw:
                self.broken("two documents of one epoch", record)

    def _check_seen(self) -> None:
        applied, must, latched = self.bench.store.applied(), self.to_remember, max(self.events, default=0)
        if must and (applied is None or must.raw != applied.raw):
            twins = {other.raw for other in self.splits if other.registered and other.epoch == must.epoch}
            rolled_back = applied and applied.raw == ALL_STABLE_RAW and must.rollout <= latched
            if len(twins) == 1 and not rolled_back:  # twins of a split brain are detected, not prevented
                self.broken("the newest registered split was forgotten", must)
        silent = ("latched", "released", "release of nothing")
        shown = {entry["raw"].encode() for entry in self.bench.store.history(10_000) if entry["what"] not in silent}
        if applied and self.last_edit and self.last_edit[1] not in {applied.raw, *shown}:
            self.broken("an edit vanished unseen", self.last_edit)

    def _check_obedience(self) -> None:
        """A person who releases and sets is obeyed, also with a document that a rollback overtook."""
        rejected = self.bench.store.rejected()
        final: Document = ("string", b'{"stable": 0.75, "canary": 0.25}')
        if rejected and rejected.code == "overtaken" and weight_of((rejected.type, rejected.raw)):
            final = (rejected.type, rejected.raw)
        if self.latch:
            self.bench.store.release(self.latch)
        self.edit(final)
        self.settle(2)
        applied = self.bench.store.applied() or INITIAL_SPLIT
        if applied.raw != final[1]:
            self.broken("release and SET not obeyed", applied)
        elif self.latch and applied.rollout <= self.latch:
            self.broken("no new rollout after a release", applied)
