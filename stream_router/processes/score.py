"""A scoring job: reads its lane in micro-batches, asks the model, writes predictions; near-real-time or batch."""

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Final

import structlog

from stream_router.adapters.avro.requests import RequestDecoder
from stream_router.adapters.clock import now_ms
from stream_router.adapters.health import ASSIGNMENT, Health
from stream_router.adapters.http_server import serving
from stream_router.adapters.kafka.clients import largest_message, partition_count, stable_ends
from stream_router.adapters.kafka.drained import Drained
from stream_router.adapters.kafka.group import Start
from stream_router.adapters.kafka.handler import LoopConfig, Unfinished
from stream_router.adapters.kafka.loop import TransactionLoop
from stream_router.adapters.model import follows_versions
from stream_router.adapters.model_process import Artifact, ModelProcess
from stream_router.adapters.redis.jobs import RedisJobStore
from stream_router.adapters.redis.store import RedisSplitStore
from stream_router.core.lane import Lane
from stream_router.core.route import Route
from stream_router.core.routing.split_store import SplitStore
from stream_router.core.scoring.job import JobStatus
from stream_router.errors import ModelError, UnreachableError
from stream_router.processes.job_reporter import JobReporter
from stream_router.processes.namesake import refuse_namesake
from stream_router.processes.scorer import Scored, Scorer
from stream_router.processes.served_model import ServedModel
from stream_router.settings import Settings, masked_url

_LOOK_EVERY: Final = 0.5
"""Seconds between looks for the lane's version, where it has none yet."""

_log = structlog.get_logger()

Progress = Callable[[int, int | None], object]
"""Is told of the predictions so far, and how many offsets of the lane are left, where that is known."""


@dataclass(frozen=True, kw_only=True)
class ScoringJob:
    """What one job scores, and how.

    `artifact` names the models. Without a `model_version` the lane's is followed; with it the job is pinned to it.
    `request_schema`: one of our subjects, a schema file, or None for JSON. `max_wait` and `model_timeout`, of a batch,
    in seconds. With `until_end` it is a batch job, done when its lane is drained. `limit`: requests until it ends.
    """

    lane: Lane
    artifact: Artifact
    model_version: str | None = None
    request_schema: str | None = None
    id_field: str = "request_id"
    instance: str
    start: Start = "earliest"
    max_batch: int = 500
    max_wait: float = 0.05
    model_timeout: float = 30.0
    until_end: bool = False
    limit: int | None = None


def score(
    settings: Settings, route: Route, job: ScoringJob, stop: Callable[[], bool], progress: Progress | None = None
) -> tuple[Scored, bool]:
    """Run the job until `stop()`, its limit, or its lane's end. Returns what it did, and whether it came to its end.

    Raises ModelError where the model cannot be loaded or the lane has another version, UnreachableError, FencedError,
    TopicError, GapError.
    """
    health = Health("the scoring job's loop", {ASSIGNMENT: "not a member of the group yet"})
    with serving(settings, health) as address:
        _log.info(
            "scoring starts",
            route=route.name,
            lane=job.lane,
            model=job.artifact.template,
            model_version=job.model_version or "the lane's",
            instance=job.instance,
            until_end=job.until_end,
            brokers=settings.bootstrap_servers,
            redis=masked_url(settings.redis_url.get_secret_value()),
            metrics=address,
        )
        return _score(settings, route, job, stop, health, progress or (lambda _done, _left: None))


def _score(
    settings: Settings, route: Route, job: ScoringJob, stop: Callable[[], bool], health: Health, progress: Progress
) -> tuple[Scored, bool]:
    decoder = RequestDecoder(job.request_schema, job.id_field)
    if job.model_version is None and not follows_versions(job.artifact.template):
        raise ModelError(
            f"model {job.artifact.template} is the same for each version: write {{version}} into it, or give "
            "--model-version"
        )
    with ExitStack() as clean_up:
        splits = clean_up.enter_context(closing(RedisSplitStore(route, settings)))
        jobs = clean_up.enter_context(closing(RedisJobStore(route, settings)))
        reporter = JobReporter(jobs, splits, _first_status(job))
        model = clean_up.enter_context(
            closing(
                ServedModel(
                    lambda version: ModelProcess(job.artifact, version),
                    jobs,
                    reporter,
                    timeout=job.model_timeout,
                    stop=stop,
                    turned=health.beat,
                )
            )
        )
        largest = largest_message(settings, route.topic("predictions"))
        scorer = Scorer(route, job.lane, model, decoder, reporter, largest)
        try:
            version = _version(job, splits, reporter, stop, health)
            model.begin(version)
            try:
                refuse_namesake(jobs, reporter.status.name, stop)
            except UnreachableError as error:
                _log.warning("whether a job of this name lives cannot be told", error=str(error))
            clean_up.push(lambda kind, *_: reporter.stop(leave=kind is None))
            reporter.start()
            model.wait()
            scorer.done.model_version = reporter.status.version
        except Unfinished:
            return scorer.done, False
        return _run(settings, route, job, stop, health, progress, scorer)


def _run(
    settings: Settings,
    route: Route,
    job: ScoringJob,
    stop: Callable[[], bool],
    health: Health,
    progress: Progress,
    scorer: Scorer,
) -> tuple[Scored, bool]:
    config = scoring_config(settings, route, job)
    with ExitStack() as clean_up:
        drained = clean_up.enter_context(closing(_drained(settings, config))) if job.until_end else None

        def stopped() -> bool:
            is_drained = drained is not None and drained(time.monotonic())
            progress(scorer.done.predictions, None if drained is None else drained.left)
            return stop() or is_drained

        TransactionLoop(settings, config, scorer, health).run(stopped)
    _log.info("scoring ended", lane=job.lane, **vars(scorer.done))
    is_full = job.limit is not None and scorer.done.predictions + scorer.done.dead_letters >= job.limit
    return scorer.done, drained is None or drained.done or is_full


def _first_status(job: ScoringJob) -> JobStatus:
    now, version = now_ms(), job.model_version
    return JobStatus(
        lane=job.lane,
        instance=job.instance,
        version=None,
        digest=None,
        state="waiting",
        wanted=version,
        pinned=version is not None,
        since=now,
        seen=now,
    )


def _version(
    job: ScoringJob, splits: SplitStore, reporter: JobReporter, stop: Callable[[], bool], health: Health
) -> str:
    """The one that was named, which is the lane's where that has none; else the lane's, once it has one.

    Raises ModelError; Unfinished where the job is to stop.
    """
    if job.model_version is not None:
        try:
            splits.register_model(job.lane, job.model_version)
        except UnreachableError as error:
            reporter.must_register = True
            _log.warning("whether the lane has this version cannot be told, scoring all the same", error=str(error))
        return job.model_version
    said = False
    while not stop():
        health.beat()
        try:
            version: str | None = getattr(splits.models(), job.lane)
        except UnreachableError as error:
            version, why = None, str(error)
        else:
            why = f"lane {job.lane} has no model version: name one with --model-version, or HSET it in :models"
        if version is not None:
            return version
        if job.until_end:
            raise ModelError(why)
        if not said:
            _log.warning("waiting for the lane's version", why=why)
        said = True
        time.sleep(_LOOK_EVERY)
    raise Unfinished


def _drained(settings: Settings, config: LoopConfig) -> Drained:
    """Of the lane's ends as they are now."""
    ends = stable_ends(settings, config.topic, partition_count(settings, config.topic))
    return Drained(settings, config.topic, config.group, ends)


def scoring_config(settings: Settings, route: Route, job: ScoringJob) -> LoopConfig:
    """A batch job leaves its group when it ends, so it is no static member."""
    return LoopConfig(
        topic=route.lane_topic(job.lane),
        group=route.scoring_group(job.lane),
        instance=job.instance,
        dead_letters=route.topic("dead-letters"),
        stage=f"score {job.lane}",
        start=job.start,
        max_batch=job.max_batch,
        max_wait=job.max_wait,
        max_message_bytes=largest_message(settings, route.topic("dead-letters")),
        static_member=not job.until_end,
        slow=True,
        limit=job.limit,
    )
