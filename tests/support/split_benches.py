"""One way to handle the keys as operators do, for the fake and for a real server."""

import copy
from dataclasses import replace
from typing import Any, Protocol

from stream_router.adapters.redis.store import SCRIPT, RedisSplitStore
from stream_router.core.rollout.status import StatusStore
from stream_router.core.route import RedisKey, Route
from stream_router.settings import Settings
from stream_router.testing.rules import Keys
from stream_router.testing.split_store import FakeSplitStore

KEYS: tuple[RedisKey, ...] = ("split", "applied", "rejected", "latch", "release", "models", "rollout", "history")


class Bench(Protocol):
    route: Route
    store: StatusStore

    def set(self, key: RedisKey, value: bytes) -> None: ...
    def delete(self, key: RedisKey) -> None: ...
    def make_list(self, key: RedisKey) -> None: ...
    def put_model(self, lane: str, version: str) -> None: ...
    def split(self) -> bytes | str | None: ...
    def release_number(self) -> int | None: ...
    def snapshot(self) -> Any: ...
    def restore(self, snapshot: Any) -> None: ...


class FakeBench:
    def __init__(self, route: Route) -> None:
        self.route = route
        self.fake = FakeSplitStore(route)
        self.store: StatusStore = self.fake

    def set(self, key: RedisKey, value: bytes) -> None:
        setattr(self.fake.keys, key, value)

    def delete(self, key: RedisKey) -> None:
        setattr(self.fake.keys, key, getattr(Keys(), key))

    def make_list(self, key: RedisKey) -> None:
        if key in ("split", "release"):
            setattr(self.fake.keys, key, "list")
        else:
            self.delete(key)  # a key of the wrong type counts as missing

    def put_model(self, lane: str, version: str) -> None:
        self.fake.keys.models = replace(self.fake.keys.models, **{lane: version})

    def split(self) -> bytes | str | None:
        return self.fake.keys.split

    def release_number(self) -> int | None:
        release = self.fake.keys.release
        return int(release) if isinstance(release, bytes) else None

    def snapshot(self) -> Keys:
        return copy.deepcopy(self.fake.keys)

    def restore(self, snapshot: Keys | None) -> None:
        self.fake.keys = copy.deepcopy(snapshot) if snapshot else Keys()


class ValkeyBench:
    def __init__(self, route: Route, url: str, script: str = SCRIPT) -> None:
        self.route = route
        self.redis = RedisSplitStore(route, Settings(redis_url=url), script=script)  # type: ignore[arg-type]
        self.store: StatusStore = self.redis
        self.client = self.redis._client  # noqa: SLF001 - the same connection, as an operator's shell

    def set(self, key: RedisKey, value: bytes) -> None:
        self.client.set(self.route.key(key), value)

    def delete(self, key: RedisKey) -> None:
        self.client.delete(self.route.key(key))

    def make_list(self, key: RedisKey) -> None:
        self.client.pipeline().delete(self.route.key(key)).rpush(self.route.key(key), "0.9", "0.1").execute()

    def put_model(self, lane: str, version: str) -> None:
        self.client.hset(self.route.key("models"), lane, version)

    def split(self) -> bytes | str | None:
        kind = self.client.type(self.route.key("split")).decode()
        return {"none": None, "string": self.client.get(self.route.key("split")) if kind == "string" else None}.get(
            kind, kind
        )

    def release_number(self) -> int | None:
        key = self.route.key("release")
        release = self.client.get(key) if self.client.type(key) == b"string" else None
        return int(release) if release else None

    def snapshot(self) -> dict[str, bytes]:
        pipeline = self.client.pipeline()
        for key in KEYS:
            pipeline.dump(self.route.key(key))
        return {self.route.key(key): dump for key, dump in zip(KEYS, pipeline.execute(), strict=True) if dump}

    def restore(self, snapshot: dict[str, bytes] | None) -> None:
        pipeline = self.client.pipeline()
        pipeline.delete(*(self.route.key(key) for key in KEYS))
        for key, dump in (snapshot or {}).items():
            pipeline.restore(key, 0, dump)
        pipeline.execute()
