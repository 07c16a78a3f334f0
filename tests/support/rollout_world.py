"""A world around the rollout's machine: persons, scoring jobs, and controllers that stall between any two effects.

The script's world (split_world.py) is in it, with its routers, operators, its forgetful Redis and its rules. Every act
is a method; `faults` names the laws that broke.
"""

from dataclasses import replace

from support.split_benches import Bench
from support.split_world import Router, World

from stream_router.core.deciding.numbers import Status
from stream_router.core.policy import Policy
from stream_router.core.policy import Step as PolicyStep
from stream_router.core.rollout import machine
from stream_router.core.rollout.log_records import COMMAND_TIME_MS, Command, LogRecord, Refusal, Transition, Verb
from stream_router.core.rollout.machine import Call, Write
from stream_router.core.rollout.machine_inputs import Inputs, Judged, ScoringJob
from stream_router.core.rollout.phases import LED
from stream_router.core.rollout.rollout_event import ROLLBACK, Act, RolloutEvent
from stream_router.core.rollout.rollout_state import RolloutState
from stream_router.core.rollout.verbs import rollback_by_hand
from stream_router.core.routing.applied_split import INITIAL_SPLIT, AppliedSplit
from stream_router.core.routing.proposal import Step
from stream_router.core.routing.split_store import StepRefused

LABELS, HOLD_MS = 100, 1_000
POLICIES = (
    Policy(steps=(PolicyStep(weight=0.1), PolicyStep(weight=0.5, hold_for=HOLD_MS), PolicyStep(weight=0.95))),
    Policy(steps=(PolicyStep(weight=0.2, pause=True), PolicyStep(weight=0.6, until="approved")), max_duration=60_000),
    Policy(steps=(PolicyStep(weight=0.3, until="healthy"),), on_inconclusive="pause"),
)
TAKEN = {"step": "step", "promoted": "promotion", "started": "start"}
"""What the script's history calls a step, and how the split's `why` begins."""


class Caller(Router):
    """The controller's side of the script: it brings what it has read, and writes nothing to R.splits."""

    def write(self) -> None:
        pass


class Controller:
    """A controller, from its election on; `act` is what it has decided and not done yet."""

    def __init__(self, world: "RolloutWorld") -> None:
        self.world = world
        self.caller = Caller(world)
        self.state = RolloutState()
        self.read_records = self.read_splits = 0
        self.act: Write | Call | None = None
        self.refused: str | None = None

    @property
    def leads(self) -> bool:
        return self.world.leader is self

    def read(self, *, splits_first: bool) -> None:
        """Both topics to their ends; in which order must not matter."""
        for is_splits in (splits_first, not splits_first):
            if is_splits:
                for applied in self.world.splits[self.read_splits :]:
                    self.state = self.state.after_split(applied)
                self.read_splits = len(self.world.splits)
            else:
                for offset in range(self.read_records, len(self.world.log)):
                    self.state = self.state.after_record(offset, self.world.log[offset])
                self.read_records = len(self.world.log)
        if self.state != self.world.folded():
            self.world.broken("a successor folds the log to another state", self.state)

    def decide(self, *, splits_first: bool = True) -> None:
        if self.leads:
            self.read(splits_first=splits_first)
            self.caller.follow()
        self.act = machine.decide(self.state, self.world.now, self.world.inputs(self))
        record = getattr(self.act, "record", None)
        if record is not None and self.leads:
            self.world.check_decided(self, record)

    def do(self) -> None:
        act, self.act = self.act, None
        record, step = getattr(act, "record", None), getattr(act, "step", None)
        if record is not None and self.leads:
            self.world.append(record)
        elif record is not None:
            self.world.replace_controller(self)  # Kafka fences it
        elif step is not None and self.caller.reachable:
            self.call(step)

    def call(self, step: Step) -> None:
        world, caller = self.world, self.caller
        world.to_remember = None
        before = world.bench.store.applied() or INITIAL_SPLIT
        caller.look()
        reply = caller.call(step)
        self.refused = reply.why if isinstance(reply, StepRefused) else None
        if isinstance(reply, AppliedSplit) and reply.why.startswith(tuple(TAKEN.values())) and reply.time == world.now:
            world.on_taken(step, before, reply, caller.state.view.latch or 0)
        if isinstance(reply, StepRefused):
            caller.look()
            caller.call()


class RolloutWorld(World):
    def __init__(self, bench: Bench) -> None:
        super().__init__(bench, routers=2)
        self.log: list[LogRecord] = []
        self.controllers = [Controller(self), Controller(self)]
        self.leader = self.controllers[0]
        self.jobs = {"stable": ["s0", "s0"], "canary": [None, None]}
        self.failing: set[str] = set()
        self.dead: set[tuple[str, int]] = set()
        self.status, self.labels = Status.INCONCLUSIVE, 0
        self.held_by: tuple[str, ...] = ()
        self.obeys = True
        self.max_labels_reached = False
        self.taken: dict[object, int] = {}
        self._state, self._folded_splits, self._folded_records = RolloutState(), 0, 0
        self.register("stable", "s0")

    def folded(self) -> RolloutState:
        """What both logs say to who has read each record as it came; whoever begins later has to say the same."""
        for applied in self.splits[self._folded_splits :]:
            self._state = self._state.after_split(applied)
        for offset in range(self._folded_records, len(self.log)):
            self._state = self._state.after_record(offset, self.log[offset])
        self._folded_splits, self._folded_records = len(self.splits), len(self.log)
        return self._state

    def inputs(self, controller: Controller) -> Inputs:
        unhealthy = self.status is Status.UNHEALTHY
        return Inputs(
            policy=POLICIES[0],
            judged=(Judged("accuracy", "guardrail", self.status), Judged("latency_p50", "signal", Status.INCONCLUSIVE)),
            holds=self.held_by,
            jobs=tuple(self._jobs()),
            labels=self.labels,
            max_labels_reached=self.max_labels_reached and not unhealthy,
            routers_obey=self.obeys,
            applied=(self.bench.store.applied() or INITIAL_SPLIT) if controller.caller.reachable else None,
            refused=controller.refused,
        )

    def _jobs(self):
        for lane, versions in self.jobs.items():
            for number, version in enumerate(versions):
                if version is not None and (lane, number) not in self.dead:
                    state = "failed" if version in self.failing else "serving"
                    yield ScoringJob(
                        instance=f"{lane}-{number}", lane=lane, version=version, state=state, seen=self.now
                    )

    # What is written to the log, and what must be true of it.

    def append(self, record: LogRecord) -> None:
        if isinstance(record, (Transition, Refusal)) and record.command is not None:
            answers = [
                one.command for one in self.log if isinstance(one, (Transition, Refusal)) and one.command is not None
            ]
            if record.command in answers:
                self.broken("a command was answered twice", record)
        if isinstance(record, Transition) and record.command is not None:
            command = next(one for one in self.log if isinstance(one, Command) and one.id == record.command)
            if any(isinstance(one, Transition) for one in self.log[command.seen + 1 :]):
                self.broken("a command was carried out on an old view", record)
        self.log.append(record)
        state = self.folded()
        if state.is_led and state.rollout <= max(self.events, default=0):
            self.broken("a rollout is led after its rollback", record)
        if isinstance(record, RolloutEvent) and record.kind == ROLLBACK:
            self.roll_back(record.rollout)

    def check_decided(self, controller: Controller, record: Transition | Refusal) -> None:
        """Laws about what a controller may decide, told from the world and not from the machine."""
        if isinstance(record, Refusal):
            return
        command = next((one for one in self.log if isinstance(one, Command) and one.id == record.command), None)
        if command is not None and self.now > command.expires_at:
            self.broken("an expired command was carried out", record)
        jobs = list(self._jobs())
        is_first = record.before == "Starting" and record.after == "Progressing"
        if is_first and not any(job.lane == "canary" and job.version == controller.state.version for job in jobs):
            self.broken("canary gets requests that no job of its version answers", record)
        is_last = record.before == record.after == "Promoting" and record.asks is not None and not record.asks.promote
        if is_last and record.cause == "job":
            stable = [job for job in jobs if job.lane == "stable"]
            if not stable or any(job.version != controller.state.version for job in stable):
                self.broken("all is stable's before its jobs serve the version", record)
        law = machine.law_of(controller.state, self.inputs(controller)).applied
        is_operators = any(one.raw == law.raw and one.why.startswith("proposed") for one in self.splits)
        is_paused = record.after == "Paused" and record.cause == "split" and "forgotten" not in record.reason
        if is_paused and law.is_same_anew and not is_operators:
            self.broken("a rollout paused though nobody has touched the split", record)
        forward = record.canary > record.canary_before or (record.asks is not None and record.asks.promote)
        newest = next((one for one in reversed(self.log) if isinstance(one, Transition)), None)
        is_operators = law.why.startswith("proposed") and law.canary > 0
        is_unnoticed = newest is None or newest.epoch < law.epoch
        if forward and record.cause == "step" and is_operators and is_unnoticed:
            self.broken("a step went on from an operator's split that nobody has resumed", record)
        if forward and record.cause == "step" and (self.held_by or not self.obeys or self.status is Status.UNHEALTHY):
            self.broken("a rollout went on while something held it", record)

    def on_taken(self, step: Step, before: AppliedSplit, after: AppliedSplit, known_latch: int) -> None:
        """The script has done what a controller asked for, which knew of the rollbacks up to `known_latch`."""
        recorded = [one for one in self.log if isinstance(one, Transition) and one.asks == step]
        if not recorded:
            self.broken("the script was called before the record was written", step)
        aim = (step.rollout, step.canary, step.promote, step.start)
        number = self.log.index(recorded[-1]) if recorded else len(self.log)
        since = self.log[self.taken.get(aim, number) : number + 1]
        is_persons = any(isinstance(one, Transition) and one.cause in ("command", "limit") for one in since)
        if aim in self.taken and not is_persons and not self.has_forgotten:
            self.broken("a step was taken twice", step)
        self.taken[aim] = number
        if after.canary > before.canary and after.rollout <= max(known_latch, self.latch):
            self.broken("canary's weight rose after its rollback", step)
        if abs(after.split.stable + after.split.canary - 1) > 1e-9:
            self.broken("the shares do not sum to 1", after)

    # What persons do.

    def command(self, verb: Verb, number: int, *, version: str = "v1", policy: int = 0, **changes: object) -> Command:
        """`changes`: seen, expires_at, full, or an id that another has."""
        command = Command(
            id=f"command {number}",
            verb=verb,
            by="ada",
            reason="",
            at=self.now,
            seen=self.folded().newest,
            expires_at=self.now + COMMAND_TIME_MS,
            version=version if verb == "start" else None,
            policy=POLICIES[policy] if verb == "start" else None,
        )
        command = replace(command, **changes)
        self.append(command)
        return command

    def by_hand(self, act: Act) -> bool:
        rollback = rollback_by_hand(act, self.folded(), "ada", "odd", self.now)
        if isinstance(rollback, RolloutEvent):
            self.append(rollback)
        return isinstance(rollback, RolloutEvent)

    def verdict(self) -> None:
        """A guardrail is unhealthy: the leader's rollback of what is in force."""
        applied = self.folded().in_force.applied
        if applied.canary == 0 and applied.models.promoted != applied.rollout:
            return
        self.append(
            RolloutEvent(
                kind=ROLLBACK, rollout=applied.rollout, epoch=applied.epoch, digest=applied.digest,
                metric="accuracy", verdict="unhealthy", reason="worse", decided_at=self.now,
            )
        )  # fmt: skip

    # What processes do.

    def elect(self, number: int) -> None:
        """A new term; who led before goes on with what it has decided, until Kafka tells it."""
        self.controllers[number] = self.leader = Controller(self)

    def replace_controller(self, controller: Controller) -> None:
        """It dies, and begins with nothing but the logs."""
        number = self.controllers.index(controller)
        self.controllers[number] = Controller(self)
        if self.leader is controller:
            self.leader = self.controllers[number]

    def job_follows(self, lane: str, number: int) -> None:
        version = getattr(self.bench.store.models(), lane)
        self.dead.discard((lane, number))
        if version is not None:
            self.jobs[lane][number] = version

    # When all is quiet.

    def finish(self) -> None:
        super().finish()
        if not self.faults:
            self._check_healthy_is_promoted()

    def settle(self, rounds: int) -> None:
        super().settle(rounds)
        self.work(rounds)

    def work(self, rounds: int = 1) -> None:
        for _ in range(rounds):
            self.now += HOLD_MS
            self.leader.decide()
            self.leader.do()
            for router in self.routers:
                router.follow()
                router.look()
                router.call()

    def _check_healthy_is_promoted(self) -> None:
        """A good version that a person starts is everybody's in the end, whatever has happened before."""
        self.status, self.labels, self.held_by, self.obeys = Status.HEALTHY, LABELS, (), True
        self.failing, self.dead, self.max_labels_reached = set(), set(), False
        self.work(4)
        self.by_hand("abort")
        self.work(4)
        self.edit(("string", b'{"stable": 1, "canary": 0}'))
        self.work(4)
        version = "final"
        self.command("start", -1, version=version, policy=1)
        for number in range(60):
            self.work()
            for lane in ("stable", "canary"):
                self.job_follows(lane, 0)
                self.job_follows(lane, 1)
            phase = self.folded().phase
            if phase == "Promoted":
                break
            if number % 6 == 5:
                self.command("approve", -2 - number)
        models, applied = self.bench.store.models(), self.bench.store.applied()
        if self.folded().phase != "Promoted" or models.stable != version or applied is None or applied.canary:
            self.broken("a healthy version was not promoted", (self.folded(), models, applied))
            return
        self._check_undo(models.previous)

    def _check_undo(self, previous: str | None) -> None:
        self.by_hand("undo")
        self.work(3)
        state = self.folded()
        if state.phase != "RolledBack" or self.bench.store.models().stable != previous:
            self.broken("undo did not give the previous version back", (state, self.bench.store.models()))
        if state.phase in LED:
            self.broken("a rollout is led after its end", state)
