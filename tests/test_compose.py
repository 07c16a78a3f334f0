"""docker-compose.yml and Dockerfile name only what the code has; no Docker engine is needed to check."""

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest
import yaml

from stream_router.adapters.avro.requests import RequestDecoder
from stream_router.adapters.model import load_model
from stream_router.cli import main
from stream_router.settings import Settings, load_settings

CHECKOUT = Path(__file__).parents[1]
FILE = CHECKOUT / "docker-compose.yml"
SERVICES = yaml.safe_load(FILE.read_text())["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
DOCKERFILE = (CHECKOUT / "Dockerfile").read_text()


def parsed(arguments):
    """The context of a command line, parsed as the command itself would; ClickException if it would refuse."""
    command, rest, context = main, list(arguments), None
    while isinstance(command, click.Group):
        name = rest.pop(0)
        found = command.get_command(click.Context(command), name)
        assert found is not None, f"{name} is no command"
        command = found
    return command.make_context(command.name, rest, parent=context)


@pytest.mark.parametrize("name", OURS)
def test_every_command_and_flag_exists(name):
    assert parsed(OURS[name]["command"]).params["route"] == "flights"


def test_a_wrong_flag_would_be_found():
    with pytest.raises(click.NoSuchOption):
        parsed([*OURS["router"]["command"], "--surprise", "1"])


def test_the_whole_loop_is_there():
    started = {service["command"][0] for service in OURS.values()}
    assert started == {"topics", "route", "score", "monitor"}
    lanes = {parsed(OURS[name]["command"]).params["lane"] for name in ("score-stable", "score-canary")}
    assert lanes == {"stable", "canary"}
    assert {"kafka", "valkey"} <= set(SERVICES)


@pytest.mark.parametrize("name", ["score-stable", "score-canary"])
def test_models_and_schemas_exist(name):
    options = parsed(OURS[name]["command"]).params
    assert load_model(options["model"], options["model_version"]).version == options["model_version"]
    assert RequestDecoder(options["request_schema"], options["id_field"])


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting_that_is_accepted(name, monkeypatch):
    environment = OURS[name]["environment"]
    for variable, value in environment.items():
        assert variable.startswith("STREAM_ROUTER_")
        assert variable.removeprefix("STREAM_ROUTER_").split("__")[0].lower() in Settings.model_fields
        monkeypatch.setenv(variable, value)
    settings = load_settings()
    host, _, port = settings.bootstrap_servers.partition(":")
    listeners = SERVICES[host]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert f"INTERNAL://{host}:{port}" in listeners
    assert settings.redis_url.get_secret_value() == "redis://valkey:6379/0"


@pytest.mark.parametrize("name", OURS)
def test_metrics_are_served_where_the_healthcheck_and_the_port_look(name):
    service = OURS[name]
    if service["command"][0] == "topics":
        assert service["healthcheck"] == {"disable": True}
        return
    port = service["environment"]["STREAM_ROUTER_METRICS_PORT"]
    assert f"127.0.0.1:{port}/readyz" in service["healthcheck"]["test"][-1]
    assert service["environment"]["STREAM_ROUTER_METRICS_HOST"] == "0.0.0.0"  # noqa: S104 - else no port leads to it
    assert [published.rpartition(":")[2] for published in service["ports"]] == [port]
    assert f"EXPOSE {port}" in DOCKERFILE


def test_published_ports_are_distinct_and_local():
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert len({port.split(":")[1] for port in published}) == len(published)


def test_every_service_is_watched_and_every_server_keeps_its_data():
    assert all("healthcheck" in service for service in SERVICES.values())
    assert SERVICES["kafka"]["environment"]["KAFKA_LOG_DIRS"] == SERVICES["kafka"]["volumes"][0].partition(":")[2]
    assert SERVICES["valkey"]["volumes"]


def test_no_secret_stands_in_the_file():
    assert not re.search(r"passw|secret|token|://[^/\s]*:[^/\s]*@", FILE.read_text(), re.IGNORECASE)


def test_the_image_carries_what_the_build_needs():
    """.dockerignore admits by name; a folder that the wheel needs and it forgets would be missed only at run time."""
    admitted = {line[1:] for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {"pyproject.toml", "uv.lock", "README.md", "LICENSE", "stream_router", "schemas", "topics"} <= admitted
    assert all((CHECKOUT / name).exists() for name in admitted)
    assert 'ENTRYPOINT ["stream-router"]' in DOCKERFILE


def test_docker_compose_accepts_the_file():
    command = next(
        (
            command
            for command in (["docker-compose"], ["docker", "compose"])
            if (found := shutil.which(command[0]))
            and subprocess.run([found, *command[1:], "version"], check=False, capture_output=True).returncode == 0
        ),
        None,
    )
    if command is None:
        pytest.skip("docker-compose is not installed")
    checked = subprocess.run(
        [shutil.which(command[0]), *command[1:], "-f", str(FILE), "config", "--quiet"],
        check=False,
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
    )
    assert checked.returncode == 0, checked.stderr
