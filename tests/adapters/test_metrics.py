"""A process serves only what it measures."""

import subprocess
import sys

UNTOUCHED = """
from prometheus_client import REGISTRY, generate_latest
from stream_router.adapters import metrics
print(generate_latest(REGISTRY).decode())
"""


def test_a_metric_that_was_never_measured_has_no_value():
    served = subprocess.run([sys.executable, "-c", UNTOUCHED], capture_output=True, text=True, check=True).stdout
    assert "# HELP stream_router_split_epoch" in served
    assert [line for line in served.splitlines() if line.startswith("stream_router_")] == []
