"""Random histories of a route's controllers: elections, refusals, a Redis that comes and goes; then all is quiet."""

import random
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError
from support.evidence import POLICY
from support.kafka_script import assigned, event, fails, lost, passes, revoked
from support.scripted_kafka import ScriptedConsumer
from support.terms import EVIDENCE, RECORDS, ROUTE, SPLIT, STATE, World

from stream_router.adapters.avro.evidence import decode_evidence
from stream_router.adapters.kafka import verdict_state
from stream_router.core.deciding.fold import EvidenceFold
from stream_router.core.deciding.trial import Outputs
from stream_router.processes import snapshots

# ruff: noqa: SLF001 - librdkafka's own codes are spelt so

_CALLS = ("begin_transaction", "produce", "send_offsets_to_transaction", "commit_transaction", "init_transactions")
_QUIET = 25
"""Turns in which all that is left can be read."""


class Storm:
    """What the seed decides. Snapshots are small and many; some are damaged, or gone."""

    def __init__(self, monkeypatch: Any, seed: int) -> None:
        self.world, self.chance = World(monkeypatch), random.Random(seed)
        monkeypatch.setattr(verdict_state, "_PART_BYTES", self.chance.choice([1_000, 5_000]))
        monkeypatch.setattr(snapshots, "_RECORDS", self.chance.choice([1, 7, 1_000]))
        monkeypatch.setattr(snapshots, "_COST", 0.0)
        monkeypatch.setattr(snapshots, "_AFTER_FAILURE", self.chance.choice([0.0, 0.0, 60.0]))
        start, *self._to_come = RECORDS
        self.world.happens(start)  # else a controller writes one with another ripe age
        self._to_come.insert(self.chance.randrange(len(RECORDS)), b"nonsense")

    def faults(self, windows: Any) -> list[str]:
        """What is wrong with what the controllers wrote; `windows` are those of one that nothing disturbs."""
        world, chance = self.world, self.chance
        for call in _CALLS:
            most = 60 if call == "produce" else 8
            fences = fails(KafkaError._FENCED, fatal=True)
            world.kafka.script(call, *[chance.choice([*[passes] * 7, fences]) for _ in range(most)])
        turns: list[Callable[..., Any]] = [self._turn] * chance.randrange(5, 40)
        try:
            world.control(*turns, self._calm, *[self._quiet] * _QUIET)
        except Exception as error:  # noqa: BLE001 - also what a planted fault makes of the model of the broker
            return [f"ended with {error!r}"]
        return [name for name, right in self._checks(windows) if not right]

    def _checks(self, windows: Any) -> list[tuple[str, bool]]:
        world = self.world
        outputs = self._outputs()
        digests = [record.epoch_in_force.digest for record in world.controls if record.epoch_in_force]
        return [
            ("one rollback", [rollback.rollout for rollback in world.rollbacks] == [1]),
            ("with the numbers that the evidence gives", self._said() == self._evident(outputs)),
            ("each verdict once, as the evidence gives it", self._told() == self._fallen(outputs)),
            ("windows as of one that nothing disturbed", world.windows == windows),
            ("one control record of the split", digests == [SPLIT.digest]),
            ("one dead letter", world.kafka.values(ROUTE.topic("dead-letters")) == [b"nonsense"]),
            ("canary has no share", world.store.applied().canary == 0.0),
        ]

    def _said(self) -> list[Any]:
        return [(rollback.evidence_offset, rollback.numbers) for rollback in self.world.rollbacks]

    def _evident(self, outputs: list[Outputs]) -> list[Any]:
        return [(verdict.offset, verdict.numbers) for one in outputs for verdict in one.verdicts]

    def _told(self) -> list[Any]:
        return sorted((one.evidence_offset, one.metric, one.verdict, one.numbers) for one in self.world.verdicts)

    def _fallen(self, outputs: list[Outputs]) -> list[Any]:
        fallen = [one for of_record in outputs for one in (*of_record.verdicts, *of_record.healthy)]
        return sorted((one.offset, one.metric, one.status.value, one.numbers) for one in fallen)

    def _outputs(self) -> list[Outputs]:
        """What one fold of all records says."""
        fold = EvidenceFold(POLICY, 2)
        records = [record for record in self.world.kafka.records(EVIDENCE) if record.value() != b"nonsense"]
        return [fold.on_record(record.offset(), decode_evidence(record.value())) for record in records]

    def _turn(self, client: ScriptedConsumer, call: Callable[[], Any]) -> Any:
        chance, world = self.chance, self.world
        world.store.away = chance.random() < 0.5
        self._arrive(chance.randrange(12))
        if not client.positions:
            if chance.random() < 0.7:
                assigned(0)(client)
            return call()
        if chance.random() < 0.1:
            self._lose_snapshots()
        kind = chance.random()
        if kind < 0.05:
            return event(KafkaError.OFFSET_OUT_OF_RANGE)(client, call)
        fetched = call() if kind < 0.15 else None
        if kind < 0.3:
            chance.choice([revoked(0), lost(0)])(client)
            if chance.random() < 0.5:
                assigned(0)(client)
        return call() if fetched is None else fetched

    def _calm(self, client: ScriptedConsumer, call: Callable[[], Any]) -> Any:
        """From here on nothing fails."""
        self.world.kafka.forget_script(keep=("consume",))
        self.world.store.away = False
        self._arrive(len(self._to_come))
        return self._quiet(client, call)

    def _quiet(self, client: ScriptedConsumer, call: Callable[[], Any]) -> Any:
        if not client.positions:
            assigned(0)(client)
        return call()

    def _lose_snapshots(self) -> None:
        if self.chance.random() < 0.5:
            self.world.kafka.logs[STATE, 0].clear()
        else:
            self.world.kafka.fill(STATE, b"nonsense")

    def _arrive(self, count: int) -> None:
        self.world.happens(*self._to_come[:count])
        del self._to_come[:count]
