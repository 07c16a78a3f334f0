"""The keys of a route in Redis or Valkey. Every change of the split in force is one call of apply_split.lua."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import redis
import structlog
from redis.backoff import NoBackoff
from redis.connection import URL_QUERY_ARGUMENT_PARSERS
from redis.retry import Retry

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
from stream_router.core.routing.split_store import Latch, ReadAgain, Refusal, StepRefused, version_conflict
from stream_router.errors import KeyContentError, ModelError, SettingError, UnreachableError
from stream_router.settings import Settings, masked_url

T = TypeVar("T")
_CUT_OFF: Final = (redis.ConnectionError, redis.TimeoutError, OSError)
_REPLIES: Final = (redis.AuthenticationError, redis.BusyLoadingError)
"""Which redis-py takes for errors of the connection."""

_log = structlog.get_logger()

SCRIPT: Final = (Path(__file__).parent / "apply_split.lua").read_text()
KEYS: Final[tuple[RedisKey, ...]] = ("split", "applied", "rejected", "latch", "release", "models", "history")
TIMEOUT: Final = 0.5
"""Seconds for a connection and for a reply: a rollback may not wait longer for a Redis that hangs."""


class RedisSplitStore:
    """See SplitStore and StatusStore. Raises SettingError for a URL or an option that redis-py refuses.

    Any error of Redis, also an error reply such as OOM or READONLY, is an UnreachableError: the script has not
    succeeded, and that is all that counts.
    """

    def __init__(self, route: Route, settings: Settings, *, script: str = SCRIPT) -> None:
        self._route = route
        url = settings.redis_url.get_secret_value()
        self._shown_url = masked_url(url)
        defaults = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT, "retry": Retry(NoBackoff(), 0)}
        try:
            _ = urlsplit(url).port
        except ValueError:  # its words may quote the password
            raise SettingError(
                f"setting redis_url {self._shown_url!r} is no URL: write redis://USER:PASSWORD@HOST:PORT/DB, and in "
                "the password / as %2F, ? as %3F, # as %23 and @ as %40",
            ) from None
        try:
            options = {name: _parsed(name, value) for name, value in settings.redis.items()}
            self._client: Any = redis.Redis.from_url(url, **defaults | options | {"decode_responses": False})
            self._client.connection_pool.make_connection()  # connects to nothing, but refuses unknown options
        except (TypeError, ValueError) as error:
            raise SettingError(
                f"settings redis_url {self._shown_url!r} and redis [{', '.join(settings.redis)}]: {error}",
            ) from None
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
            }
        pairs = [part for pair in arguments.items() for part in pair]
        with self._reaching():
            outcome, *rest = self._run_script(keys=[self._key(key) for key in KEYS], args=pairs)
        if outcome == b"again":
            return ReadAgain()
        if outcome == b"refused":
            return StepRefused(rest[0].decode())
        if outcome == b"none":
            return INITIAL_SPLIT
        fields = dict(zip(*[iter(rest)] * 2, strict=True))
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
        fields = self._hash("rejected")
        return self._read(refusal_from_fields, fields, "rejected") if fields else None

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
        except (ValueError, LookupError) as error:
            raise KeyContentError(
                f"key {self._key(key)} holds what we did not write ({type(error).__name__}: {error}). It is written "
                f"anew after: redis-cli DEL '{self._key(key)}'",
            ) from error

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except (redis.RedisError, OSError) as error:
            replied = isinstance(error, _REPLIES) or not isinstance(error, _CUT_OFF)
            what = "does not do as asked" if replied else "does not answer"
            raise UnreachableError(f"Redis at {self._shown_url} {what}: {error}") from error


def _parsed(name: str, value: Any) -> Any:
    """An option from the environment is text: read it as redis-py reads it in a URL."""
    parse: Any = URL_QUERY_ARGUMENT_PARSERS.get(name)
    return parse(value) if parse and isinstance(value, str) else value


def _text(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode(errors="backslashreplace") for name, value in fields.items()}
