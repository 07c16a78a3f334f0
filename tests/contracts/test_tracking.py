"""Changes in Redis are heard of at once, on a real Valkey; where it cannot be, that is said once and nothing waits."""

import os
import signal
import socket
import threading
from contextlib import contextmanager

import pytest
from redis import Redis
from structlog.testing import capture_logs
from support.valkey import valkey_server
from support.waiting import wait_until
from support.wire import Wire

from stream_router.adapters.redis.store import RedisSplitStore
from stream_router.adapters.redis.tracking import LOSSES, RETRY, RETRY_REFUSED, WAIT, SplitTracking
from stream_router.core.route import Route
from stream_router.core.routing.control_view import ControlView
from stream_router.core.routing.split_store import call_until_read
from stream_router.errors import UnreachableError
from stream_router.settings import Settings

ROUTE = Route("r")
TENTH = b'{"stable": 0.9, "canary": 0.1}'


@pytest.fixture(scope="module")
def url():
    with valkey_server() as found:
        yield found


@pytest.fixture
def client(url):
    with Redis.from_url(url) as found:
        found.flushall()
        yield found
        found.execute_command("ACL", "SETUSER", "default", "+@all")


@pytest.fixture
def tracking(url):
    found = SplitTracking(ROUTE, Settings(redis_url=url))
    yield found
    found.close()


def hears(tracking: SplitTracking) -> bool:
    """Whether a change is told; what was written before the call has arrived when a wait passes quietly."""
    return tracking.wait() or tracking.wait()


@pytest.mark.usefixtures("client")
def test_who_connects_has_missed_what_was_written_before(tracking):
    assert not tracking.works
    assert tracking.wait()
    assert tracking.works
    assert not tracking.wait()


@pytest.mark.parametrize("key", ["split", "release", "models"])
def test_what_others_write_for_the_script_is_told(client, tracking, key):
    tracking.wait()
    for _ in range(2):  # not only the first time
        if key == "models":
            client.hset(ROUTE.key(key), "canary", os.urandom(4))
        else:
            client.set(ROUTE.key(key), os.urandom(4))
        assert hears(tracking)


def test_a_deleted_key_and_an_emptied_server_are_told(client, tracking):
    client.set(ROUTE.key("split"), TENTH)
    tracking.wait()
    client.delete(ROUTE.key("split"))
    assert hears(tracking)
    client.flushall()
    assert hears(tracking)
    client.flushdb()
    assert hears(tracking)


def test_a_change_in_the_middle_of_the_wait_ends_it(client, tracking, monkeypatch):
    monkeypatch.setattr("stream_router.adapters.redis.tracking.WAIT", 3_600.0)
    tracking.wait()
    heard = threading.Event()
    thread = threading.Thread(target=lambda: tracking.wait() and heard.set(), daemon=True)
    thread.start()
    client.set(ROUTE.key("split"), TENTH)
    assert heard.wait(60)
    thread.join()


@pytest.mark.parametrize(
    "key", ["applied", "rejected", "latch", "history", "rollout", "jobs", "splits", "models-of-mine"]
)
def test_other_keys_wake_nobody(client, tracking, key):
    tracking.wait()
    client.set(f"stream_router:{{{ROUTE.name}}}:{key}", 1)
    client.set(Route("other").key("split"), TENTH)
    assert not hears(tracking)


@pytest.mark.usefixtures("client")
def test_calls_of_the_script_that_change_nothing_wake_nobody(url, tracking):
    store = RedisSplitStore(ROUTE, Settings(redis_url=url))
    store.propose(TENTH)
    tracking.wait()
    for now in range(3):
        call_until_read(store, ControlView(), now=now, who="me")
    assert not hears(tracking)
    store.close()


def test_a_server_that_hangs_is_noticed_and_found_again():
    with valkey_server() as url:
        tracking = SplitTracking(ROUTE, Settings(redis_url=url))
        assert tracking.wait()
        with Redis.from_url(url) as client:
            pid = client.info("server")["process_id"]
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(UnreachableError, match="does not answer"):
                tracking.wait()
            assert not tracking.works
            with pytest.raises(UnreachableError):
                tracking.wait()
        finally:
            os.kill(pid, signal.SIGCONT)
        assert wait_until(lambda: connects(tracking), 30, "a new connection")
        tracking.close()


def connects(tracking: SplitTracking) -> bool:
    try:
        return tracking.wait()
    except UnreachableError:
        return False


def test_a_server_that_goes_is_noticed():
    with valkey_server() as url:
        tracking = SplitTracking(ROUTE, Settings(redis_url=url))
        assert tracking.wait()
    with pytest.raises(UnreachableError):
        tracking.wait()
    assert not tracking.works


def test_a_user_without_the_right_is_said_once_and_asked_again_later(client, tracking):
    client.execute_command("ACL", "SETUSER", "default", "-client")
    with capture_logs() as logs:
        assert not tracking.wait()
        assert not tracking.wait()
    assert [line["event"].partition(",")[0] for line in logs] == ["Redis tells no changes"]
    assert not tracking.works
    assert tracking.pause > WAIT
    client.execute_command("ACL", "SETUSER", "default", "+@all")
    assert tracking.wait()


def test_connections_that_are_only_lost_are_a_refusal_while_redis_answers_others(url):
    wire = Wire(url)
    wire.cut_at(b"TRACKING")
    tracking = SplitTracking(ROUTE, Settings(redis_url=wire.url))
    with capture_logs() as logs:
        for _ in range(2 * LOSSES):
            assert not connects(tracking)
        assert not tracking.works
        assert (logs, tracking.pause) == ([], RETRY), "Redis may be away"
        for _ in range(2 * LOSSES):
            with pytest.raises(UnreachableError):
                tracking.wait(redis_answers=True)
    (line,) = logs
    assert "Redis tells no changes" in line["event"]
    assert f"lost {LOSSES} times" in line["error"]
    assert tracking.pause == RETRY_REFUSED
    wire.cut_at(b"")
    assert tracking.wait()
    assert not tracking.wait()
    assert tracking.pause == RETRY
    wire.close()


def test_connections_that_are_lost_now_and_then_are_no_refusal(url):
    wire = Wire(url)
    tracking = SplitTracking(ROUTE, Settings(redis_url=wire.url))
    with capture_logs() as logs:
        for _ in range(LOSSES):
            assert tracking.wait(redis_answers=True)
            tracking.wait(redis_answers=True)
            wire.be("sound")
            with pytest.raises(UnreachableError):
                tracking.wait(redis_answers=True)
    assert logs == []
    tracking.close()
    wire.close()


def test_a_user_who_may_not_ping_is_answered_all_the_same(client, tracking):
    client.execute_command("ACL", "SETUSER", "default", "-ping")
    tracking.wait()
    assert not tracking.wait()
    assert tracking.works


@contextmanager
def server_that_says(reply: bytes):
    """To whatever it is told."""

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                while connection.recv(4096):
                    connection.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield f"redis://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "reply", [b"-ERR unknown command 'HELLO'\r\n", b"-NOPROTO unsupported protocol version\r\n"], ids=["5", "proxy"]
)
def test_a_server_without_resp3_is_said_once(reply):
    with server_that_says(reply) as url, capture_logs() as logs:
        tracking = SplitTracking(ROUTE, Settings(redis_url=url))
        assert not tracking.wait()
        assert not tracking.wait()
        assert not tracking.works
    assert len(logs) == 1


def test_a_server_that_loads_is_away_and_not_unwilling():
    with server_that_says(b"-LOADING Redis is loading the dataset in memory\r\n") as url:
        tracking = SplitTracking(ROUTE, Settings(redis_url=url))
        with pytest.raises(UnreachableError):
            tracking.wait()
        assert tracking.pause < WAIT
