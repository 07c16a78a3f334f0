"""stream-router score"""

import json

import click

from stream_router.adapters.kafka.group import Start
from stream_router.adapters.memory import handle_batches
from stream_router.cli.common import example, metrics_option, output_option, route_option, settings_options
from stream_router.cli.running import instance_option, start_option, stop_on_signal
from stream_router.core.lane import Lane
from stream_router.core.route import Route
from stream_router.processes.score import ScoringJob, score
from stream_router.settings import Settings


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
    metavar="MODULE:CALLABLE",
    help="Takes a version, returns predict(rows) -> predictions on a whole batch.",
)
@click.option("--model-version", required=True, metavar="VERSION", help="Stands in every prediction.")
@click.option(
    "--request-schema",
    metavar="FILE|NAME",
    help="Avro schema of the requests (single-object encoding).  [requests are JSON objects]",
)
@click.option("--id-field", default="request_id", show_default=True, help="The request's id, where no header ce_id is.")
@click.option("--max-batch", type=click.IntRange(1, 100_000), default=500, show_default=True)
@click.option("--max-wait", type=click.FloatRange(0.001, 60), default=0.05, show_default=True, metavar="SECONDS")
@click.option("--until", type=click.Choice(["end"]), help="Batch: score what is there now, then exit with a summary.")
@start_option
@instance_option
@output_option
@metrics_option
def command(
    *,
    settings: Settings,
    route: Route,
    lane: Lane,
    model: str,
    model_version: str,
    request_schema: str | None,
    id_field: str,
    max_batch: int,
    max_wait: float,
    until: str | None,
    start: Start,
    instance: str,
    output: str,
) -> int:
    """Score one lane of a route with a model.

    The lane's first job registers its version; a job with another version does not start. Without --until it runs
    until SIGINT or SIGTERM.
    """
    job = ScoringJob(
        lane=lane,
        model=model,
        model_version=model_version,
        request_schema=request_schema,
        id_field=id_field,
        instance=instance,
        start=start,
        max_batch=max_batch,
        max_wait=max_wait,
        until_end=until is not None,
    )
    handle_batches()
    with stop_on_signal() as stop:
        done, is_finished = score(settings, route, job, stop)
    if output == "json":
        click.echo(json.dumps({"route": route.name, "lane": lane, "model_version": model_version, **vars(done)}))
    elif until is not None:
        click.echo(
            f"{done.predictions} predictions in {done.batches} batches by {model_version}, {done.errors} of them "
            f"errors; {done.dead_letters} dead letters"
        )
    if not is_finished:
        click.echo("stream-router: stopped before the end of the lane: start it again", err=True)
    return 0 if is_finished else 1
