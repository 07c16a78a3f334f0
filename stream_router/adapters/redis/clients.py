"""Redis clients: their settings, and the error of ours for what Redis does not do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.connection import URL_QUERY_ARGUMENT_PARSERS
from redis.retry import Retry

from stream_router.errors import SettingError, UnreachableError
from stream_router.settings import Settings, masked_url

TIMEOUT: Final = 0.5
"""Seconds for a connection and for a reply: a rollback may not wait longer for a Redis that hangs."""

_CUT_OFF: Final = (redis.ConnectionError, redis.TimeoutError, OSError)
_REPLIES: Final = (redis.AuthenticationError, redis.BusyLoadingError)
"""Which redis-py takes for errors of the connection."""


def client_for(settings: Settings, contract: dict[str, Any] | None = None) -> Any:
    """A client that has not connected yet: our defaults, then the user's options, then `contract`.

    Raises SettingError for a URL or an option that redis-py refuses.
    """
    url = settings.redis_url.get_secret_value()
    shown_url = masked_url(url)
    defaults = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT, "retry": Retry(NoBackoff(), 0)}
    try:
        _ = urlsplit(url).port
    except ValueError:  # its words may quote the password
        raise SettingError(
            f"setting redis_url {shown_url!r} is no URL: write redis://USER:PASSWORD@HOST:PORT/DB, and in "
            "the password / as %2F, ? as %3F, # as %23 and @ as %40",
        ) from None
    try:
        options = {name: _parsed(name, value) for name, value in settings.redis.items()}
        contract = {"decode_responses": False, **(contract or {})}
        client: Any = redis.Redis.from_url(url, **defaults | options | contract)
        client.connection_pool.connection_kwargs |= contract  # what the URL names goes before keywords
        client.connection_pool.make_connection()  # connects to nothing, but refuses unknown options
    except (TypeError, ValueError) as error:
        raise SettingError(
            f"settings redis_url {shown_url!r} and redis [{', '.join(settings.redis)}]: {error}",
        ) from None
    return client


@contextmanager
def reaching(shown_url: str) -> Iterator[None]:
    """Raises UnreachableError for whatever Redis does not do in the block."""
    try:
        yield
    except (redis.RedisError, OSError) as error:
        what = "does not do as asked" if has_replied(error) else "does not answer"
        raise UnreachableError(f"Redis at {shown_url} {what}: {error}") from error


def has_replied(error: Exception) -> bool:
    """Whether it is an answer of the server, such as OOM or READONLY."""
    return isinstance(error, _REPLIES) or not isinstance(error, _CUT_OFF)


def _parsed(name: str, value: Any) -> Any:
    """An option from the environment is text: read it as redis-py reads it in a URL."""
    parse: Any = URL_QUERY_ARGUMENT_PARSERS.get(name)
    return parse(value) if parse and isinstance(value, str) else value
