"""A model's process that a test plays, and a job around it, with a clock of its own."""

from stream_router.adapters.avro.requests import RequestDecoder
from stream_router.adapters.model_process import Answer
from stream_router.core.route import Route
from stream_router.core.scoring.asking import ask
from stream_router.core.scoring.job import JobStatus
from stream_router.core.scoring.model_output import ModelOutput, failed
from stream_router.errors import ModelError
from stream_router.processes.job_reporter import JobReporter
from stream_router.processes.scorer import Scorer
from stream_router.processes.served_model import ServedModel
from stream_router.testing import FakeSplitStore
from stream_router.testing.job_store import FakeJobStore


class ScriptedModel:
    """Answers each row's x. `load`: what it loads after, an error, or None for never; `answers`: likewise."""

    def __init__(self, job, version):
        self.job, self.version = job, version
        self.digest = job.digests.get(version, f"digest of {version}")
        self.is_broken = self.is_killed = False
        self.rows = None

    def loaded(self, wait):
        self.job.now += wait
        said = self.job.loads.get(self.version, True)
        if isinstance(said, str):
            raise ModelError(said)
        return said

    def ask(self, rows):
        assert self.rows is None, "one batch after the other"
        self.rows = list(rows)

    def answer(self, wait):
        self.job.now += wait
        said = self.job.answers.get(self.version, True)
        if said == "dies":
            return self.failed("the model's process was ended by SIGSEGV")
        if said is False:
            return None
        rows, self.rows = self.rows, None
        if self.job.predict is not None:
            return Answer(ask(self.job.predict, rows), 0.01)
        outputs = [failed(said) if isinstance(said, str) else ModelOutput(row["x"], None) for row in rows]
        return Answer(outputs, 0.01)

    def failed(self, why, seconds=0.0):
        self.is_broken = True
        return Answer([failed(why)] * len(self.rows), seconds)

    def kill(self):
        self.is_killed = True


class ScriptedJob:
    """`loads` and `answers` by version, see ScriptedModel; `processes` are all that were begun. `predict` answers in
    place of all of them.
    """

    def __init__(self, pinned=False, timeout=30.0):
        self.now, self.is_stopped = 0.0, False
        self.loads, self.answers, self.digests = {}, {}, {}
        self.processes = []
        self.predict = None
        self.jobs, self.splits = FakeJobStore(), FakeSplitStore(Route("flights"))
        status = JobStatus(
            lane="stable", instance="a", version=None, digest=None, state="waiting", wanted=None, pinned=pinned,
            since=0, seen=0,
        )  # fmt: skip
        self.reporter = JobReporter(self.jobs, self.splits, status, clock=lambda: round(self.now * 1000))
        self.model = ServedModel(
            self._begin,
            self.jobs,
            self.reporter,
            timeout=timeout,
            stop=lambda: self.is_stopped,
            clock=lambda: self.now,
        )

    def _begin(self, version):
        self.processes.append(ScriptedModel(self, version))
        return self.processes[-1]

    def start(self, version):
        self.model.begin(version)
        self.model.wait()

    def set_lane(self, version):
        """Somebody writes the lane's version, and the reporter hears of it."""
        models = self.splits.keys.models
        self.splits.keys.models = models.__class__(version, models.canary)
        self.reporter.turn()

    def status(self):
        self.reporter.turn()
        return self.jobs.jobs()["stable/a"]

    def living(self):
        return [process.version for process in self.processes if not process.is_killed]


def scorer_of(route, predict, version="even", largest=1_000_000):
    """Of stable, with this model."""
    job = ScriptedJob()
    job.predict = predict
    job.start(version)
    return Scorer(route, "stable", job.model, RequestDecoder(None), job.reporter, largest)
