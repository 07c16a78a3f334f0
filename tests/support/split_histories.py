"""Histories of a World that only a seed decides."""

import random
from typing import Any

from support.split_world import LIST, MISSING, Document, World, document

from stream_router.core.routing.split import ALL_STABLE_RAW


def random_history(world: World, seed: int, *, steps: int = 120, forgetful: bool = True) -> World:
    """Run a history that only the seed decides."""
    dice = random.Random(seed)
    documents: list[Document] = []
    snapshots: list[Any] = []
    for number in range(steps):
        _random_act(world, dice, documents, snapshots, number, forgetful)
    world.finish()
    return world


def _random_act(  # noqa: C901, PLR0912 - one table of acts and their chances
    world: World,
    dice: random.Random,
    documents: list[Document],
    snapshots: list[Any],
    number: int,
    forgetful: bool,
) -> None:
    chance, router = dice.random(), dice.choice(world.routers)
    reachable = router.reachable
    if forgetful and dice.random() < 0.2:
        snapshots.append(world.bench.snapshot())
    if chance < 0.08 and not world.away:
        if dice.random() < 0.75 or not documents:
            documents.append(document(number, dice.choice([0.0, 0.1, 0.3, None])))
            world.edit(documents[-1])
        else:
            world.edit(dice.choice([*documents, MISSING, LIST, ("string", ALL_STABLE_RAW)]))
    elif chance < 0.10:
        live = [other.state.in_force.rollout for other in world.routers if other.state.in_force.canary > 0]
        rollout = dice.choice(live) if live and dice.random() < 0.8 else world.rollout_in_force
        if rollout:
            world.roll_back(rollout)
    elif chance < 0.13 and not world.away:
        latch = world.latch
        world.bench.store.release(latch if latch and dice.random() < 0.8 else dice.randint(1, 6))
    elif chance < 0.145 and not world.away:
        world.register(dice.choice(["stable", "canary", "canary"]), f"v{number}")
    elif chance < 0.16 and not world.away and forgetful and snapshots:
        world.forget(dice.choice(snapshots) if dice.random() < 0.8 else None)
    elif chance < 0.165:
        world.away = not world.away
    elif chance < 0.17:
        router.cut = not router.cut
    elif chance < 0.185:
        world.kill(router)
    elif chance < 0.20 and reachable:
        world.step(
            router,
            canary=dice.choice([0.2, 0.5]),
            promote=dice.random() < 0.3,
            stale=dice.random() < 0.3,
        )
    elif chance < 0.215 and reachable:
        world.start(router, f"v{number}", number=dice.choice([0, 1, 1, 2]))
    elif chance < 0.50:
        router.follow(dice.choice([0, 1, None]))
    elif chance < 0.75 and reachable:
        router.look()
    elif reachable:
        if not router.splits_read:
            router.follow()
        router.call()
