"""The servers of the demo: a local stack of its own, or servers that are there already."""

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from stream_router.errors import SettingError
from stream_router.local import stack as local
from stream_router.local.jars import Progress
from stream_router.settings import PREFIX, Settings, TopicNames, load_settings


@dataclass(frozen=True)
class Servers:
    """`environment` and `cwd` are those in which a command of ours finds the servers by itself."""

    settings: Settings
    environment: dict[str, str]
    cwd: Path


def own_servers(folder: Path, progress: Progress, cleanup: ExitStack) -> Servers:
    """A local stack in the folder. Raises LocalStackError.

    Settings of the caller's are left out: they are for other servers.
    """
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    cleanup.callback(local.stop, folder)  # before the start, which may be cut short
    stack = local.start(folder, progress=progress)
    settings = Settings.model_validate({"bootstrap_servers": stack.bootstrap_servers, "redis_url": stack.redis_url})
    return Servers(settings, _environment(stack.bootstrap_servers, stack.redis_url), folder)


def given_servers(bootstrap_servers: str, redis_url: str) -> Servers:
    """With all other settings as they are. Raises SettingError."""
    settings = load_settings(flags={"bootstrap_servers": bootstrap_servers, "redis_url": redis_url})
    if settings.topics != TopicNames():
        raise SettingError("the settings name topics of yours: the demo writes flights to its own only, so unset them")
    return Servers(settings, _environment(bootstrap_servers, redis_url), Path.cwd())


def _environment(bootstrap_servers: str, redis_url: str) -> dict[str, str]:
    own = {f"{PREFIX}BOOTSTRAP_SERVERS": bootstrap_servers, f"{PREFIX}REDIS_URL": redis_url}
    return dict(os.environ) | own
