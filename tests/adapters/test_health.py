"""Whether a process is alive and ready, and what it serves of that."""

import json
import socket
import threading
from contextlib import contextmanager

import pytest
from support.health import get

from stream_router.adapters.health import STILL, Health
from stream_router.adapters.http_server import serving
from stream_router.errors import SettingError
from stream_router.settings import Settings


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def health(clock):
    return Health("the loop", {"split": "not read", "assignment": "no member"}, clock)


@contextmanager
def served(health, **settings):
    with serving(Settings(metrics_port=0, **settings), health) as address:
        yield address.removesuffix("/metrics")


def test_a_process_is_alive_while_its_loop_turns(health, clock):
    assert health.stands() is None
    clock.now += STILL
    assert health.stands() is None
    clock.now += 1
    assert health.stands() == "the loop has not turned for 151 s"
    health.beat()
    assert health.stands() is None


def test_a_condition_is_met_until_it_is_not(health):
    health.ready("split")
    health.ready("assignment")
    assert health.unmet() == {"split": None, "assignment": None}
    health.not_ready("kafka", "no broker answers")
    assert health.unmet() == {"split": None, "assignment": None, "kafka": "no broker answers"}


def test_readyz_names_each_condition(health):
    with served(health) as url:
        status, body = get(f"{url}/readyz")
        assert (status, json.loads(body)) == (
            503,
            {"ready": False, "conditions": {"split": "not read", "assignment": "no member"}},
        )
        health.ready("split")
        health.ready("assignment")
        assert get(f"{url}/readyz") == (
            200,
            '{"ready": true, "conditions": {"split": "ready", "assignment": "ready"}}',
        )
        health.not_ready("split", "lost")
        assert get(f"{url}/readyz")[0] == 503


def test_livez_names_what_stands_and_does_not_care_for_readiness(health, clock):
    with served(health) as url:
        assert get(f"{url}/livez") == (200, '{"alive": true, "why": null}')
        clock.now += STILL + 1
        status, body = get(f"{url}/livez")
        assert (status, json.loads(body)["why"]) == (503, "the loop has not turned for 151 s")


def test_metrics_are_served_beside_them_and_nothing_else(health):
    with served(health) as url:
        status, body = get(f"{url}/metrics")
        assert status == 200
        assert "stream_router_split_epoch" in body
        assert get(f"{url}/other")[0] == 404


def test_an_answer_does_not_wait_for_another_client(health):
    with served(health) as url, socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))):
        assert get(f"{url}/livez")[0] == 200


def test_the_address_is_loopback_unless_said_otherwise_and_the_port_is_the_one_taken(health):
    with served(health) as url:
        assert url.startswith("http://127.0.0.1:")
        assert int(url.rpartition(":")[2]) > 0
    with served(health, metrics_host="0.0.0.0") as url:  # noqa: S104 - what is asked for
        assert url.startswith("http://0.0.0.0:")


def test_nothing_is_served_without_a_port(health):
    before = threading.active_count()
    with serving(Settings(), health) as address:
        assert (address, threading.active_count()) == ("off", before)


def test_the_port_is_free_again_at_the_end(health):
    with served(health) as url:
        port = int(url.rpartition(":")[2])
    with serving(Settings(metrics_port=port), health) as address:
        assert address == f"http://127.0.0.1:{port}/metrics"


def test_a_taken_port_is_refused_by_name(health):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(SettingError, match=f"metrics_port is {port}"),
            serving(Settings(metrics_port=port), health),
        ):
            pass


def test_an_address_of_another_machine_is_refused_by_name(health):
    elsewhere = Settings(metrics_port=0, metrics_host="192.0.2.1")
    with pytest.raises(SettingError, match=r"metrics_host is '192\.0\.2\.1'"), serving(elsewhere, health):
        pass
