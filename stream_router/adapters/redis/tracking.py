"""Hears from Redis that somebody has written what the script reads: `CLIENT TRACKING` in RESP3."""

from typing import Any, Final

import redis
import structlog
from redis.maint_notifications import MaintNotificationsConfig

from stream_router.adapters.redis.clients import TIMEOUT, client_for, reaching
from stream_router.core.route import RedisKey, Route
from stream_router.errors import UnreachableError
from stream_router.settings import Settings, masked_url

WATCHED: Final[tuple[RedisKey, ...]] = ("split", "release", "models")
"""What others write for the script to read. The script's own keys would wake every caller after every call."""

WAIT: Final = 0.5
"""Seconds without a word after which the server is asked whether it is there: a dead connection tells nobody."""

RETRY: Final = 0.2
"""Seconds before a server that was not there is tried again."""

RETRY_REFUSED: Final = 30.0
"""Seconds before a server that refuses to track is asked again."""

LOSSES: Final = 10
"""Connections lost in a row, while Redis answers others, that count as a refusal: so does a proxy say it."""

_log = structlog.get_logger()


class SplitTracking:
    """A connection of its own, used by one thread. Raises SettingError as RedisSplitStore does."""

    def __init__(self, route: Route, settings: Settings) -> None:
        self._keys = {route.key(key).encode() for key in WATCHED}
        self._shown_url = masked_url(settings.redis_url.get_secret_value())
        contract = {"protocol": 3, "maint_notifications_config": MaintNotificationsConfig(enabled=False)}
        self._client = client_for(settings, contract | {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT})
        self._connection: Any = None
        self._changed, self._is_refused = False, False
        self._losses = 0

    @property
    def works(self) -> bool:
        """Whether a change would be heard of now, as far as can be known."""
        return self._connection is not None

    @property
    def pause(self) -> float:
        """Seconds before the next `wait`, after one that raised or found the server unwilling."""
        return RETRY_REFUSED if self._is_refused else RETRY

    def wait(self, *, redis_answers: bool = False) -> bool:
        """Whether something may have changed: a key was written, all were deleted, or we were deaf until now.

        Connects where there is no connection, and returns after WAIT seconds at the latest. `redis_answers`: others had
        an answer since the last call. Raises UnreachableError.
        """
        self._changed = False
        try:
            with reaching(self._shown_url):
                if self._connection is None:
                    return self._connect()
                if not self._connection.can_read(WAIT):
                    self._ask_whether_it_is_there()
                while self._connection.can_read(0):
                    self._connection.read_response(push_request=True)
        except UnreachableError as error:
            self.close()
            self._losses += redis_answers
            if self._losses >= LOSSES:
                self._on_refusal(f"the connection was lost {LOSSES} times in a row: {error}")
            raise
        except BaseException:
            self.close()
            raise
        self._losses, self._is_refused = 0, False
        return self._changed

    def close(self) -> None:
        """Only from the thread that waits, or after it has ended."""
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None

    def _connect(self) -> bool:
        connection = self._client.connection_pool.make_connection()
        connection._get_parser().set_invalidation_push_handler(self._on_invalidation)  # noqa: SLF001 - as redis-py's own cache does
        prefixes = [part for key in self._keys for part in (b"PREFIX", key)]
        try:
            connection.connect()
            connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", *prefixes)
            connection.read_response()
        except redis.ResponseError as error:
            connection.disconnect()
            self._on_refusal(str(error))
            return False
        except BaseException:
            connection.disconnect()
            raise
        self._connection = connection
        return True

    def _on_refusal(self, why: str) -> None:
        if not self._is_refused:
            _log.warning(
                f"Redis tells no changes, so the split is asked for each {RETRY:g} s: it takes RESP3 and the right to "
                "CLIENT TRACKING",
                error=why,
            )
        self._is_refused = True

    def _ask_whether_it_is_there(self) -> None:
        self._connection.send_command("PING", check_health=False)
        try:
            self._connection.read_response(disconnect_on_error=False)  # what is told before the reply is handled, too
        except redis.ResponseError:
            return  # one who may not ask has been answered, too

    def _on_invalidation(self, message: list[Any]) -> None:
        """`message`: its name and the keys, None after FLUSHALL or FLUSHDB."""
        keys = message[1]
        # A prefix of ours can begin another key.
        self._changed = self._changed or keys is None or not self._keys.isdisjoint(keys)
