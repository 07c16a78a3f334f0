"""Random histories of a partition's owners: chunks lost and late, refusals, hand-overs; in the end all is read."""

import asyncio
import random
from typing import Any

from confluent_kafka import KafkaError
from support.kafka_script import fails
from support.owners import POLICY, World

from stream_router.adapters.faust.chunks import Chunk
from stream_router.core.policy import CLOCK_SKEW_MS
from stream_router.processes.shared import Side

# ruff: noqa: SLF001 - librdkafka's own codes are spelt so

_CALLS = ("begin_transaction", "produce", "send_offsets_to_transaction", "commit_transaction", "committed")
_MATURED = POLICY.matures_after + CLOCK_SKEW_MS


class Storm:
    """What the seed decides."""

    def __init__(self, monkeypatch: Any, seed: int) -> None:
        self.world, self.chance = World(monkeypatch), random.Random(seed)
        self._late: list[tuple[Side, Chunk]] = []

    def faults(self) -> list[str]:
        """What is wrong with the evidence after some events and a quiet end."""
        try:
            asyncio.run(self._play())
        except Exception as error:  # noqa: BLE001 - also what a planted fault makes of the model of the broker
            return [f"ended with {error!r}"]
        return self.world.faults(matured=True)

    async def _play(self) -> None:
        world, chance = self.world, self.chance
        world.start()
        try:
            for _ in range(chance.randrange(8, 25)):
                await self._event()
            await self._quiet()
        finally:
            await world.end()

    async def _quiet(self) -> None:
        world = self.world
        world.kafka.forget_script()
        for _ in range(4):  # what is under way may still be refused
            await world.taken()
            world.pass_time(_MATURED)
            await world.bring_all()
            await world.flushed()
            if self.chance.random() < 0.5:
                self._hand_over()
                await world.taken()
                await world.bring_all()
                await world.flushed()

    def _hand_over(self) -> None:
        self.world.owner.drop()
        self._late.clear()
        self.world.new_owner()
        self.world.start()

    async def _event(self) -> None:  # noqa: C901 - a case a kind
        world, chance = self.world, self.chance
        await world.taken()
        side: Side = chance.choice(["predictions", "ground_truth"])
        kind = chance.randrange(13)
        if kind < 2:
            world.send(chance.randrange(1, 4))
        elif kind == 11:
            world.pass_time(chance.choice([1_000, POLICY.window, _MATURED]))
        elif kind < 6:
            await world.bring(side, chance.randrange(1, 4))
        elif kind == 6:
            self._late.append((side, world.app.fetch(side, chance.randrange(1, 4))))  # lost, or late
        elif kind == 7 and self._late:
            await world.owner.on_chunk(*self._late.pop(chance.randrange(len(self._late))))
        elif kind == 8:
            world.kafka.script(chance.choice(_CALLS), fails(KafkaError._TIMED_OUT))
        elif kind == 9:
            await world.owner.resume()
        elif kind == 10:
            world.log.writer(0)  # a rogue fences
        elif kind == 12:
            self._hand_over()
        if chance.random() < 0.5:
            await world.flushed()
