"""The fake of `:routers`; it passes the same contract suite as the real one."""

from stream_router.core.routing.router_status import RouterStatus
from stream_router.errors import UnreachableError


class FakeRouterStore:
    """`away` makes every call fail as if Redis could not be reached."""

    def __init__(self) -> None:
        self.away = False
        self._routers: dict[str, RouterStatus] = {}

    def tell(self, status: RouterStatus) -> None:
        self._reach()
        self._routers[status.instance] = status

    def leave(self, instance: str) -> None:
        self._reach()
        self._routers.pop(instance, None)

    def routers(self) -> tuple[RouterStatus, ...]:
        self._reach()
        return tuple(self._routers.values())

    def close(self) -> None:
        pass

    def _reach(self) -> None:
        if self.away:
            raise UnreachableError("the fake Redis is away")
