"""Kafka Streams with whatever JDK is there: compiles a program of benchmarks/streams and tells how to run it."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from stream_router.local.jars import KAFKA_VERSION, class_path

SOURCES: Final = Path(__file__).parent / "streams"
_COORDINATES: Final = (
    f"org.apache.kafka:kafka-streams:{KAFKA_VERSION}:::compile",
    "org.slf4j:slf4j-simple:1.7.36:::compile",
)


class KafkaStreams:
    """A compiled program; `folder` is for its classes and for the state of its runs."""

    def __init__(self, folder: Path, program: str) -> None:
        self._folder, self._program = folder, program
        jars = class_path(lambda _there, _total, _name: None, _COORDINATES)
        self._class_path = ":".join(str(jar) for jar in [*jars, folder])
        command = ["javac", "-cp", self._class_path, "-d", folder, SOURCES / f"{program}.java"]
        subprocess.run(command, check=True)

    def command(self, brokers: str, route: str, threads: int, commit_ms: int) -> list[str]:
        state = self._folder / f"{route}-{threads}"
        options = ["-Xms256m", "-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"]
        arguments = [brokers, route, str(threads), str(commit_ms), str(state)]
        return ["java", *options, "-cp", self._class_path, self._program, *arguments]


def why_not() -> str | None:
    """Why it cannot run here; None where it can."""
    return None if shutil.which("javac") and shutil.which("java") else "there is no JDK (javac and java) on the path"
