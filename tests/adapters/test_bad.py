"""The user's function raises nothing into the join, and what fails is told without flooding the log."""

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from stream_router.adapters.bad import load_bad
from stream_router.errors import ModelError

FUNCTIONS = """
import numpy as np

def far(prediction, truth):
    return np.float64(prediction) - truth > 1

def fails(prediction, truth):
    raise LookupError(f"no {prediction}")

def says_nothing(prediction, truth):
    return None

number = 7
"""


@pytest.fixture(autouse=True)
def functions(tmp_path, monkeypatch):
    (tmp_path / "their_functions.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def counted(reason: str) -> float:
    return REGISTRY.get_sample_value("stream_router_not_judged_total", {"reason": reason}) or 0.0


def test_it_is_asked_and_a_boolean_of_numpy_is_one():
    bad = load_bad("their_functions:far")
    assert [bad(5, 3), bad(3, 3)] == [True, False]


@pytest.mark.parametrize(
    ("name", "reason", "said"), [("fails", "raised", "LookupError: no 0"), ("says_nothing", "no_boolean", "NoneType")]
)
def test_what_it_cannot_judge_is_bad_counted_and_told_once_a_minute_with_the_first(name, reason, said):
    now, before = [0.0], counted(reason)
    bad = load_bad(f"their_functions:{name}", lambda: now[0])
    with capture_logs() as logs:
        assert bad(0, True)
        assert all(bad(number, True) for number in range(1, 100))
        assert len(logs) == 1
        now[0] = 60.0
        bad(100, True)
    assert counted(reason) - before == 101
    assert [log["predictions"] for log in logs] == [1, 100]
    assert said in logs[0]["first"]
    assert "bad(1, True)" in logs[1]["first"]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("their_functions", "is not module:callable, such as my_models:bad"),
        ("their_functions:nothing", "cannot be imported"),
        ("no_such_module:bad", "cannot be imported"),
        ("their_functions:number", "not a callable"),
    ],
)
def test_what_is_no_function_is_refused_at_the_start(path, why):
    with pytest.raises(ModelError, match=why):
        load_bad(path)
