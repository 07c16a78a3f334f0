"""Histories of a RolloutWorld that only a seed decides."""

import random
from typing import Any

from support.rollout_world import HOLD_MS, LABELS, RolloutWorld
from support.split_world import document

from stream_router.core.deciding.numbers import Status


def random_rollout(world: RolloutWorld, seed: int, *, steps: int = 250, forgetful: bool = True) -> RolloutWorld:
    """Run a history that only the seed decides."""
    dice = random.Random(seed)
    snapshots: list[Any] = []
    for number in range(steps):
        if forgetful and dice.random() < 0.1:
            snapshots.append(world.bench.snapshot())
        act = dice.choices(list(ACTS), [chance for chance, _ in ACTS.values()])[0]
        if act == "forget":
            if forgetful and snapshots and not world.away:
                world.forget(dice.choice([None, *snapshots]))
        else:
            ACTS[act][1](world, dice, number)
    world.finish()
    return world


def _command(world: RolloutWorld, dice: random.Random, number: int) -> None:
    verb = dice.choice(["start", "start", "pause", "resume", "resume", "resume", "approve", "approve", "promote"])
    changes: dict[str, Any] = {}
    if dice.random() < 0.1:
        changes["seen"] = max(-1, len(world.log) - dice.randint(2, 6))
    if dice.random() < 0.05:
        changes["expires_at"] = world.now - 1
    if dice.random() < 0.1:
        changes["id"] = f"command {dice.randint(0, number)}"
    if verb == "promote":
        changes["full"] = dice.random() < 0.5
    world.command(verb, number, version=f"v{dice.randint(1, 4)}", policy=dice.randint(0, 2), **changes)


def _edit(world: RolloutWorld, dice: random.Random, number: int) -> None:
    if not world.away:
        world.edit(document(number, dice.choice([0.0, 0.1, 0.3, 1.0, None])))


def _hand(world: RolloutWorld, dice: random.Random, _: int) -> None:
    world.by_hand(dice.choice(["abort", "undo"]))


def _inputs(world: RolloutWorld, dice: random.Random, _: int) -> None:
    world.status = dice.choice([*[Status.HEALTHY] * 6, Status.INCONCLUSIVE, Status.INCONCLUSIVE, Status.UNHEALTHY])
    world.labels = dice.choice([0, LABELS, LABELS])
    world.held_by = dice.choice([(), (), (), ("no labels",)])
    world.obeys = dice.random() < 0.9
    world.max_labels_reached = dice.random() < 0.05
    if world.status is Status.UNHEALTHY and dice.random() < 0.5:
        world.verdict()


def _job(world: RolloutWorld, dice: random.Random, _: int) -> None:
    lane, number = dice.choice(["stable", "canary"]), dice.randint(0, 1)
    if dice.random() < 0.1:
        world.failing ^= {f"v{dice.randint(1, 4)}"}
    if dice.random() < 0.1:
        world.dead.add((lane, number))
    elif not world.away:
        world.job_follows(lane, number)


def _release(world: RolloutWorld, _: random.Random, __: int) -> None:
    if not world.away and world.latch:
        world.bench.store.release(world.latch)


def _register(world: RolloutWorld, dice: random.Random, number: int) -> None:
    if not world.away:
        world.register(dice.choice(["stable", "canary"]), f"w{number}")


def _decide(world: RolloutWorld, dice: random.Random, _: int) -> None:
    controller = world.leader if dice.random() < 0.9 else dice.choice(world.controllers)
    if controller.act is None:
        controller.decide(splits_first=dice.random() < 0.5)


def _do(world: RolloutWorld, dice: random.Random, _: int) -> None:
    (world.leader if dice.random() < 0.8 else dice.choice(world.controllers)).do()


def _work(world: RolloutWorld, dice: random.Random, _: int) -> None:
    world.now += dice.choice([1, HOLD_MS, HOLD_MS])
    if world.leader.act is None:
        world.leader.decide(splits_first=dice.random() < 0.5)
    world.leader.do()


def _race(world: RolloutWorld, dice: random.Random, number: int) -> None:
    """Something happens between a controller's decision and its effect."""
    world.leader.decide()
    dice.choice([_hand, _hand, _edit, _inputs, _command, _route])(world, dice, number)
    world.leader.do()


def _route(world: RolloutWorld, dice: random.Random, _: int) -> None:
    router = dice.choice(world.routers)
    router.follow()
    if router.reachable:
        router.look()
        router.call()


def _away(world: RolloutWorld, _: random.Random, __: int) -> None:
    world.away = not world.away


ACTS = {
    "command": (9, _command),
    "edit": (1.5, _edit),
    "by hand": (1, _hand),
    "inputs": (10, _inputs),
    "job": (25, _job),
    "release": (1, _release),
    "register": (0.5, _register),
    "decide": (8, _decide),
    "do": (8, _do),
    "work": (50, _work),
    "race": (8, _race),
    "route": (20, _route),
    "controller dies": (2, lambda world, dice, _: world.replace_controller(dice.choice(world.controllers))),
    "election": (1, lambda world, dice, _: world.elect(dice.randint(0, 1))),
    "router dies": (1, lambda world, dice, _: world.kill(dice.choice(world.routers))),
    "away": (1, _away),
    "forget": (0.6, None),
}
"""What happens, each with its chance."""
