"""The keys of a route in Redis or Valkey. Every change of the split in force is one call of apply_split.lua."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog

from stream_router.adapters.redis.clients import client_for, reaching
from stream_router.adapters.redis.fields import (
    UNKNOWN_IN_MODELS,
    applied_from_fields,
    applied_to_fields,
    latch_from_fields,
    models_from_fields,
    refusal_from_fields,
    status_from_fields,
    status_to_fields,
)
from stream_router.core.lane import Lane
from stream_router.core.rollout.status import RolloutStatus
from stream_router.core.route import RedisKey, Route
from stream_router.core.routing.applied_split import INITIAL_SPLIT, AppliedSplit, Models
from stream_router.core.routing.control_view import ControlView
from stream_router.core.routing.proposal import Proposal, Step
from stream_router.core.routing.split import ALL_STABLE_RAW, digest_of
from stream_router.core.routing.split_store import Latch, OnRejected, ReadAgain, Refusal, StepRefused, version_conflict
from stream_router.errors import KeyContentError, ModelError
from stream_router.settings import Settings, masked_url

T = TypeVar("T")
_log = structlog.get_logger()

SCRIPT: Final = (Path(__file__).parent / "apply_split.lua").read_text()
KEYS: Final[tuple[RedisKey, ...]] = ("split", "applied", "rejected", "latch", "release", "models", "history")


class RedisSplitStore:
    """See SplitStore and StatusStore. Raises SettingError for a URL or an option that redis-py refuses.

    Any error of Redis, also an error reply such as OOM or READONLY, is an UnreachableError: the script has not
    succeeded, and that is all that counts.
    """

    def __init__(self, route: Route, settings: Settings, *, script: str = SCRIPT) -> None:
        self._route = route
        self._shown_url = masked_url(settings.redis_url.get_secret_value())
        self._client = client_for(settings)
        self._unknown = b""
        self._run_script: Callable[..., Any] = self._client.register_script(script)

    def look(self) -> Proposal:
        with self._reaching(), self._client.pipeline(transaction=True) as pipeline:
            pipeline.type(self._key("split"))
            pipeline.get(self._key("split"))
            type_, raw = pipeline.execute(raise_on_error=False)  # GET of another type is an error
            if isinstance(type_, Exception):
                raise type_
            if type_ == b"string" and isinstance(raw, Exception):
                raise raw
        return Proposal.of(type_.decode(), raw if type_ == b"string" else b"")

    def call(
        self,
        view: ControlView,
        proposal: Proposal,
        *,
        now: int,
        who: str,
        step: Step | None = None,
        on_rejected: OnRejected | None = None,
    ) -> AppliedSplit | ReadAgain | StepRefused:
        arguments: dict[str, Any] = {
            "now": now,
            "who": who,
            "highest_epoch": view.highest_epoch,
            "latch": view.latch or "",
            "latch_reason": view.latch_reason,
            "seen.type": proposal.type,
            "seen.raw": proposal.raw,
            "seen.digest": proposal.digest,
            "seen.canary": "" if proposal.canary is None else proposal.canary,
            "seen.refusal": proposal.refusal or "",
            "all_stable.raw": ALL_STABLE_RAW,
            "all_stable.digest": digest_of(ALL_STABLE_RAW),
        }
        if view.registered is not None:
            arguments |= {f"registered.{name}": value for name, value in applied_to_fields(view.registered).items()}
        if step is not None:
            arguments |= {
                "step.on": step.on,
                "step.raw": step.raw,
                "step.digest": step.digest,
                "step.canary": step.canary,
                "step.promote": "1" if step.promote else "",
                "step.rollout": step.rollout or "",
                "step.start": step.start or "",
            }
        pairs = [part for pair in arguments.items() for part in pair]
        with self._reaching():
            outcome, *rest = self._run_script(keys=[self._key(key) for key in KEYS], args=pairs)
        if outcome == b"again":
            return ReadAgain()
        if outcome == b"refused":
            return StepRefused(rest[0].decode())
        if on_rejected is not None:
            with suppress(KeyContentError):  # told by who asks for it, and no reason to route by another split
                on_rejected(self._refusal(_pairs(rest[0])))
        if outcome == b"none":
            return INITIAL_SPLIT
        fields = _pairs(rest[1])
        self._show_unknown(fields.get(UNKNOWN_IN_MODELS, b""))
        return self._read(applied_from_fields, fields)

    def register_model(self, lane: Lane, version: str) -> None:
        if not version:
            raise ModelError(f"the model version of lane {lane} is empty: name the version, such as 'v1'")
        key = self._key("models")
        with self._reaching():
            registered = None if self._client.hsetnx(key, lane, version) else self._client.hget(key, lane)
            if registered == b"":
                self._client.hset(key, lane, version)
        if registered and registered != version.encode():
            raise ModelError(
                version_conflict(self._route.name, lane, key, registered.decode(errors="replace"), version)
            )

    def write_status(self, status: RolloutStatus) -> None:
        with self._reaching(), self._client.pipeline(transaction=True) as pipeline:
            pipeline.delete(self._key("rollout"))
            pipeline.hset(self._key("rollout"), mapping=status_to_fields(status))
            pipeline.execute()

    def propose(self, raw: bytes) -> None:
        with self._reaching():
            self._client.set(self._key("split"), raw)

    def release(self, rollout: int) -> None:
        with self._reaching():
            self._client.set(self._key("release"), rollout)

    def applied(self) -> AppliedSplit | None:
        fields = self._hash("applied")
        return self._read(applied_from_fields, fields) if fields else None

    def rejected(self) -> Refusal | None:
        return self._refusal(self._hash("rejected"))

    def latch(self) -> Latch | None:
        fields = self._hash("latch")
        return self._read(latch_from_fields, fields, "latch") if fields else None

    def models(self) -> Models:
        return self._read(models_from_fields, self._hash("models"), "models")

    def status(self) -> RolloutStatus | None:
        fields = self._hash("rollout")
        return self._read(status_from_fields, fields, "rollout") if fields else None

    def history(self, count: int) -> list[dict[str, str]]:
        with self._reaching():
            entries = self._client.xrevrange(self._key("history"), count=count)
        return [_text(fields) for _, fields in entries]

    def close(self) -> None:
        self._client.close()

    def _show_unknown(self, names: bytes) -> None:
        if names and names != self._unknown:
            _log.warning(
                "a field of :models is no lane, see :history",
                key=self._key("models"),
                field=names.decode(errors="backslashreplace"),
            )
        self._unknown = names

    def _refusal(self, fields: dict[bytes, bytes]) -> Refusal | None:
        return self._read(refusal_from_fields, fields, "rejected") if fields else None

    def _key(self, key: RedisKey) -> str:
        return self._route.key(key)

    def _hash(self, key: RedisKey) -> dict[bytes, bytes]:
        with self._reaching():
            return dict(self._client.hgetall(self._key(key)))

    def _read(
        self, read: Callable[[dict[bytes, bytes]], T], fields: dict[bytes, bytes], key: RedisKey = "applied"
    ) -> T:
        try:
            return read(fields)
        except (ValueError, LookupError, TypeError) as error:
            raise KeyContentError(
                f"key {self._key(key)} holds what we did not write ({type(error).__name__}: {error}). It is written "
                f"anew after: redis-cli DEL '{self._key(key)}'",
            ) from error

    def _reaching(self) -> AbstractContextManager[None]:
        return reaching(self._shown_url)


def _pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(*[iter(flat)] * 2, strict=True))


def _text(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode(errors="backslashreplace") for name, value in fields.items()}
