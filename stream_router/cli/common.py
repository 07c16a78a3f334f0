"""What the commands share: options for the settings, the route and the output, and the example in the help."""

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from stream_router.core.route import Route
from stream_router.processes.startup import start_up
from stream_router.settings import Settings, load_settings

type_file = click.Path(path_type=Path, dir_okay=False)
Function = Callable[..., Any]

_SETTINGS = (
    "policy",
    "bootstrap_servers",
    "redis_url",
    "kafka",
    "redis",
    "log_format",
    "log_level",
    "metrics_port",
    "metrics_host",
)


def example(*lines: str) -> str:
    """The epilog of a command: lines that can be pasted into a shell."""
    return "\n".join(["\b", "Example:" if len(lines) == 1 else "Examples:", *(f"  {line}" for line in lines)])


class KeyValue(click.ParamType):
    """KEY=VALUE; `typed` reads the value as JSON where it is JSON, so that numbers are numbers."""

    name = "KEY=VALUE"

    def __init__(self, *, typed: bool) -> None:
        self._typed = typed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        key, separator, text = str(value).partition("=")
        if not key or not separator:
            self.fail(
                f"expected KEY=VALUE, such as {'socket_timeout=5' if self._typed else 'client.id=me'}", param, ctx
            )
        try:
            return key, json.loads(text) if self._typed else text
        except ValueError:
            return key, text


def settings_options(function: Function) -> Function:
    """Give the command an argument `settings`; turn its argument `route` into a Route.

    Put it above route_option and metrics_option. Raises SettingError.
    """

    @click.option("--config", type=type_file, metavar="FILE", help="Settings file, TOML.  [stream-router.toml]")
    @click.option("--bootstrap-servers", metavar="HOST:PORT,…", help="Kafka.  [127.0.0.1:9092]")
    @click.option("--redis-url", metavar="URL", help="Redis or Valkey.  [redis://127.0.0.1:6379/0]")
    @click.option("--kafka", multiple=True, type=KeyValue(typed=False), help="Any librdkafka setting; repeatable.")
    @click.option("--redis", multiple=True, type=KeyValue(typed=True), help="Any redis-py setting; repeatable.")
    @click.option("--log-format", type=click.Choice(["text", "json"]), help="Log lines on stderr.  [text]")
    @click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="[info]")
    @wraps(function)
    def command(*args: Any, config: Path | None, **options: Any) -> Any:
        flags = {name: options.pop(name) for name in _SETTINGS if name in options}
        settings = load_settings(config, flags | {name: dict(flags[name]) for name in ("kafka", "redis")})
        start_up(settings)
        if isinstance(options.get("route"), str):
            options["route"] = route_of(options["route"], settings)
        return function(*args, settings=settings, **options)

    return command


def route_of(name: str, settings: Settings) -> Route:
    """The route with the topics of the user's that the settings name. Raises SettingError."""
    topics = settings.topics
    return Route(name, requests=topics.requests, ground_truth=topics.ground_truth, predictions=topics.predictions)


def route_option(function: Function) -> Function:
    """Give the command an argument `route`: a Route."""
    return click.option("--route", required=True, metavar="NAME", help="The route, such as flights.")(function)


def policy_option(function: Function) -> Function:
    """Say by which policy rollouts are judged; put it below settings_options."""
    return click.option(
        "--policy", type=type_file, metavar="FILE", help="Policy file, YAML.  [the setting policy, else built in]"
    )(function)


def metrics_option(function: Function) -> Function:
    """Say where the command serves metrics and health."""
    host = click.option("--metrics-host", metavar="HOST", help="Address of the metrics' port.  [127.0.0.1]")
    port = click.option("--metrics-port", type=click.IntRange(0, 65535), help="Serve /metrics, /livez, /readyz.  [off]")
    return port(host(function))


def output_option(function: Function) -> Function:
    """Give the command an argument `output`: text or json."""
    return click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)(function)
