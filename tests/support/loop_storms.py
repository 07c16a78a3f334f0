"""Random histories of a loop that copies a topic: rebalances, failures, poison, restarts; in the end all is quiet."""

import random
from typing import Any

from confluent_kafka import KafkaError
from support.kafka_script import Action, assigned, brings_nothing, event, fails, first, lost, meanwhile, passes, revoked
from support.loops import SOURCE, Copy, loop_config, source_faults
from support.scripted_kafka import ScriptedKafka, Step

from stream_router.adapters.kafka.loop import TransactionLoop
from stream_router.errors import StreamRouterError
from stream_router.settings import Settings

# ruff: noqa: SLF001 - librdkafka's own codes are spelt so

PARTITIONS = (0, 1, 2)
_CALLS = ("begin_transaction", "flush", "send_offsets_to_transaction", "commit_transaction")
_CODES = (KafkaError._INCONSISTENT, KafkaError.UNKNOWN_MEMBER_ID, KafkaError._FENCED, KafkaError._TIMED_OUT)


class Storm:
    """What the seed decides."""

    def __init__(self, monkeypatch: Any, seed: int) -> None:
        self.kafka, self.chance = ScriptedKafka(monkeypatch), random.Random(seed)
        self._held: set[int] = set()
        self._sent = 0
        self.done = 0

    def faults(self) -> list[str]:
        """Three lives, the last of them with a quiet end; then what is wrong with what was committed."""
        try:
            for quiet in (False, False, True):
                self._live(quiet=quiet)
        except Exception as error:  # noqa: BLE001 - also what a planted fault makes of the model of the broker
            return [f"ended with {error!r}"]
        faults = source_faults(self.kafka)
        if self.done != self._sent:
            faults.append(f"{self.done} of {self._sent} records were counted")
        return faults

    def _live(self, *, quiet: bool) -> None:
        chance, kafka = self.chance, self.kafka
        kafka.forget_script()
        self._held = set()
        kafka.script("consume", first(*self._assign(chance.sample(PARTITIONS, 2))))
        kafka.script("consume", *[self._poll() for _ in range(chance.randrange(4, 12))])
        for call in _CALLS:
            steps: list[Step] = [passes] * 12
            for place in chance.sample(range(12), chance.randrange(3)):
                steps[place] = fails(chance.choice(_CODES), retriable=chance.random() < 0.3)
            kafka.script(call, *steps)
        kafka.script("produce", *[passes] * chance.randrange(40), fails(KafkaError._MSG_TIMED_OUT))
        if quiet:
            kafka.script("consume", self._calm, first(*self._assign(set(PARTITIONS) - self._held)), passes)
        interval = chance.choice([0.0, 3_600.0])
        ended = self._run(max_batch=chance.randrange(1, 9), interval=interval)
        if quiet and not ended:  # a supervisor starts it again
            kafka.forget_script()
            kafka.script("consume", first(assigned(*PARTITIONS)))
            self._run()

    def _run(self, **config: Any) -> bool:
        """Whether it came to its end."""
        handler = Copy()
        try:
            TransactionLoop(Settings(), loop_config(**config), handler).run(self.kafka.idle)
        except StreamRouterError:
            return False
        finally:
            self.done += handler.done
        return True

    def _calm(self, _client: Any, call: Any) -> Any:
        """From here on nothing fails."""
        self.kafka.forget_script(keep=("consume",))
        return call()

    def _poll(self) -> Step:
        chance = self.chance
        kind = chance.random()
        if kind < 0.3:
            return self._records
        if kind < 0.4:
            return chance.choice([brings_nothing, event(KafkaError._TRANSPORT)])
        when = chance.choice([first, meanwhile])
        if kind < 0.7 and self._held:
            gone = chance.sample(sorted(self._held), chance.randrange(1, len(self._held) + 1))
            self._held -= set(gone)
            back = chance.sample(gone, chance.randrange(len(gone) + 1))
            return when(revoked(*gone), *self._assign(back))
        if kind < 0.85 and self._held:
            gone, self._held = sorted(self._held), set()
            return when(lost(*gone), *self._assign(chance.sample(gone, chance.randrange(len(gone) + 1))))
        return when(*self._assign(chance.sample(PARTITIONS, chance.randrange(1, 4))))

    def _assign(self, partitions: Any) -> list[Action]:
        new = sorted(set(partitions) - self._held)
        self._held |= set(new)
        return [assigned(*new)] if new else []

    def _records(self, _client: Any, call: Any) -> Any:
        for _ in range(self.chance.randrange(1, 6)):
            value = b"poison" if self.chance.random() < 0.1 else f"{self._sent}".encode()
            self.kafka.fill(SOURCE, value, partition=self.chance.choice(PARTITIONS))
            self._sent += 1
        return call()
