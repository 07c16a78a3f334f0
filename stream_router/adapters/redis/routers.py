"""The routers of a route in Redis or Valkey: `:routers`."""

import json
from dataclasses import asdict

from stream_router.adapters.redis.clients import client_for, reaching
from stream_router.core.route import Route
from stream_router.core.routing.router_status import RouterStatus
from stream_router.settings import Settings, masked_url


class RedisRouterStore:
    """See RouterStore. Raises SettingError for a URL or an option that redis-py refuses."""

    def __init__(self, route: Route, settings: Settings) -> None:
        self._key, self._shown_url = route.key("routers"), masked_url(settings.redis_url.get_secret_value())
        self._client = client_for(settings)

    def tell(self, status: RouterStatus) -> None:
        with reaching(self._shown_url):
            self._client.hset(self._key, status.instance, json.dumps(asdict(status)))

    def leave(self, instance: str) -> None:
        with reaching(self._shown_url):
            self._client.hdel(self._key, instance)

    def routers(self) -> tuple[RouterStatus, ...]:
        with reaching(self._shown_url):
            fields = self._client.hgetall(self._key)
        read = (router_from_json(content) for content in fields.values())
        return tuple(router for router in read if router is not None)

    def close(self) -> None:
        self._client.close()


def router_from_json(content: bytes) -> RouterStatus | None:
    """None for what no router has written; fields of later versions are passed over."""
    try:
        fields = json.loads(content)
        return RouterStatus(
            instance=str(fields["instance"]),
            epoch=int(fields["epoch"]),
            digest=str(fields["digest"]),
            seen=int(fields["seen"]),
        )
    except (ValueError, LookupError, TypeError):
        return None
