"""The commands of docs/scoring.md run, with the model of that page, on real servers."""

import json
import re
import shlex
from pathlib import Path

import pytest
from confluent_kafka import Producer
from support.scoring import HEADERS

pytestmark = pytest.mark.stack

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "scoring.md").read_text()


def test_the_commands_of_the_page_run_with_its_model(stack, route, stack_processes, tmp_path):
    (tmp_path / "my_models.py").write_text(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1])
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers})
    for number in range(20):
        value = json.dumps({"request_id": f"r{number}", "delay": 60 * (number % 2)}).encode()
        producer.produce(route.lane_topic("stable"), value, b"k", headers=HEADERS)
    assert producer.flush(10) == 0
    commands = re.findall(r"^\$ stream-router (.*)$", PAGE, re.MULTILINE)
    assert commands
    printed = []
    for command in commands:
        arguments = shlex.split(command.replace("--route flights", f"--route {route.name}"))
        done = stack_processes.run(*arguments, PYTHONPATH=str(tmp_path))
        assert done.wait() == 0, done.stderr
        printed.append(done.stdout)
    assert printed[0] == "20 predictions in 1 batches by 1, 0 of them errors; 0 dead letters\n"
    assert json.loads(printed[1])["model_version"] == "1"


def test_the_page_names_every_option_of_the_command_that_is_about_models(stack_processes):
    shown = stack_processes.run("score", "--help").stdout
    for option in ("--model", "--model-version", "--model-timeout", "--allow-pickle", "--trust", "--limit", "--until"):
        assert option in shown
        assert f"`{option}" in PAGE or f"{option} " in PAGE
