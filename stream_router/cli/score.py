"""stream-router score"""

import json
import socket
import uuid

import click

from stream_router.adapters.kafka.group import Start
from stream_router.adapters.memory import handle_batches
from stream_router.adapters.model_process import Artifact
from stream_router.cli.common import example, metrics_option, output_option, route_option, settings_options
from stream_router.cli.running import start_option, stop_on_signal
from stream_router.core.lane import Lane
from stream_router.core.route import Route
from stream_router.processes.score import ScoringJob, score
from stream_router.settings import Settings
from stream_router.views.scoring_progress import scoring_progress


@click.command(
    name="score",
    epilog=example(
        "stream-router score --route flights --lane canary --model my_models:load --model-version 7",
        "stream-router score --route flights --lane stable --model my_models:load --model-version 6 --until end",
    ),
)
@settings_options
@route_option
@click.option("--lane", type=click.Choice(["stable", "canary"]), required=True, help="The lane to score.")
@click.option(
    "--model",
    required=True,
    metavar="MODULE:CALLABLE|skops:FILE|onnx:FILE|mlflow:URI|joblib:FILE",
    help="MODULE:CALLABLE takes a version, returns predict(rows) -> predictions on a whole batch. In FILE and URI "
    "{version} stands for the version.",
)
@click.option(
    "--model-version",
    metavar="VERSION",
    help="Pins the job to this version.  [the lane's version, which is followed: another one is loaded and swapped in]",
)
@click.option("--allow-pickle", is_flag=True, help="Load joblib: files, which can run any code.")
@click.option("--trust", multiple=True, metavar="TYPE", help="A type that skops: files may hold; repeatable.")
@click.option(
    "--model-timeout",
    type=click.FloatRange(0.1, 120),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="For a batch: then its requests become errors, and the model is started again.",
)
@click.option(
    "--request-schema",
    metavar="FILE|NAME",
    help="Avro schema of the requests (single-object encoding).  [requests are JSON objects]",
)
@click.option("--id-field", default="request_id", show_default=True, help="The request's id, where no header ce_id is.")
@click.option("--max-batch", type=click.IntRange(1, 100_000), default=500, show_default=True)
@click.option("--max-wait", type=click.FloatRange(0.001, 60), default=0.05, show_default=True, metavar="SECONDS")
@click.option("--until", type=click.Choice(["end"]), help="Batch: score what is there now, then exit with a summary.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Score so many requests, then exit.")
@start_option
@click.option(
    "--instance",
    metavar="NAME",
    help="This process among its group's: a restart under the same name takes over at once.  [the host's name; with "
    "--until a name of its own]",
)
@output_option
@metrics_option
def command(
    *,
    settings: Settings,
    route: Route,
    lane: Lane,
    model: str,
    model_version: str | None,
    allow_pickle: bool,
    trust: tuple[str, ...],
    model_timeout: float,
    request_schema: str | None,
    id_field: str,
    max_batch: int,
    max_wait: float,
    until: str | None,
    limit: int | None,
    start: Start,
    instance: str | None,
    output: str,
) -> int:
    """Score one lane of a route with a model.

    A job follows its lane's version; the first one with --model-version registers it, and one with another does not
    start. Without --until or --limit it runs until SIGINT or SIGTERM.
    """
    job = ScoringJob(
        lane=lane,
        artifact=Artifact(model, allow_pickle, trust),
        model_version=model_version,
        request_schema=request_schema,
        id_field=id_field,
        instance=instance or _instance(until),
        start=start,
        max_batch=max_batch,
        max_wait=max_wait,
        model_timeout=model_timeout,
        until_end=until is not None,
        limit=limit,
    )
    handle_batches()
    with stop_on_signal() as stop, scoring_progress(shown=until is not None) as progress:
        done, is_finished = score(settings, route, job, stop, progress)
    if output == "json":
        click.echo(json.dumps({"route": route.name, "lane": lane, **vars(done)}))
    elif until is not None or limit is not None:
        click.echo(
            f"{done.predictions} predictions in {done.batches} batches by {done.model_version}, {done.errors} of them "
            f"errors; {done.dead_letters} dead letters"
        )
    if not is_finished:
        click.echo("stream-router: stopped before the end of the lane: start it again", err=True)
    return 0 if is_finished else 1


def _instance(until: str | None) -> str:
    """A batch job must not take the place of the near-real-time one beside it."""
    host = socket.gethostname()
    return host if until is None else f"{host}-{uuid.uuid4().hex[:8]}"
