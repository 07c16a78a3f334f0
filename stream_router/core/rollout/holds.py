"""Why a rollout does not go on, or is not judged, in words: no rule of these rolls back."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby, islice
from typing import Final

from stream_router.core.deciding.numbers import Status
from stream_router.core.evidence import Tally
from stream_router.core.histogram import quantile
from stream_router.core.lane import CANARY, LANES, STABLE, Lane
from stream_router.core.moment import utc
from stream_router.core.policy import CLOCK_SKEW_MS, JOINED_BY
from stream_router.core.rollout.lane_counts import LaneCounts, counts_of
from stream_router.core.rollout.silences import is_scored_by_others
from stream_router.core.rollout.situation import REASONS, Hold, HoldReason, Situation

_GRACE_MS: Final = 15_000
"""Milliseconds from a rollout's first split in which nothing is missed yet."""

_SOME: Final = 20
"""Requests of which none had to have a prediction or a label, for that to be told."""

_AGREE: Final = 50
"""Labels of which none agrees."""

_NEWEST: Final = 3
"""Windows, the newest that ought to have labels, all without one: then labels have stopped."""


_SAMPLE: Final = 20
"""Windows of a lane that tell how long labels usually take."""


def holds_of(at: Situation) -> tuple[Hold, ...]:
    """None where canary has no share: nothing is held then."""
    if at.in_force.canary <= 0:
        return ()
    counts = counts_of(at.fold.windows, at.in_force.rollout, at.versions)
    return tuple(hold for rule in _RULES for hold in rule(at, counts))


Counts = Mapping[Lane, LaneCounts]


def _unjudged(at: Situation, _: Counts) -> Iterator[Hold]:
    if at.in_force.canary >= 1:
        yield Hold(
            "unjudged",
            "canary has all requests: with no answers of stable at the same time nothing is tested, and only the "
            "policy's absolute limits act; give stable a share, such as 0.05, to have canary judged",
        )


def _silent(at: Situation, _: Counts) -> Iterator[Hold]:
    if at.summary is not None:
        yield from (Hold("silent_lane", sentence) for sentence in at.summary.holds)


def _no_job(at: Situation, counts: Counts) -> Iterator[Hold]:
    for lane in _lanes(at):
        look = at.looks.get(lane)
        if look is None or look.members != 0:
            continue
        if counts[lane].of_any_version and is_scored_by_others(at.fold, look, at.now - at.policy.prediction_deadline):
            continue
        yield Hold("no_scoring_job", f"no scoring job of {lane} is running: start 'stream-router score --lane {lane}'")


def _stale(at: Situation, _: Counts) -> Iterator[Hold]:
    late = {p: at.now - watermark for p, watermark in at.fold.watermarks.items() if at.now - watermark > CLOCK_SKEW_MS}
    missing = [p for p in range(at.fold.partitions) if p not in at.fold.watermarks]
    if missing and at.now - at.since > CLOCK_SKEW_MS:
        yield Hold("stale_evidence", f"no monitor has joined {_partitions(missing)} yet: start 'stream-router monitor'")
    if late:
        oldest = max(late.values())
        yield Hold(
            "stale_evidence",
            f"the evidence of {_partitions(sorted(late))} is up to {oldest / 1000:,.0f} s old: its monitor does not "
            "run, is far behind, or has a slow clock",
        )


def _limits(at: Situation, _: Counts) -> Iterator[Hold]:
    """A limit is checked where the evidence of every partition is complete: one that is behind makes it blind."""
    newest = {p: max(at.since, at.fold.watermarks.get(p, at.since)) for p in range(at.fold.partitions)}
    behind = sorted(p for p, watermark in newest.items() if at.now - watermark > CLOCK_SKEW_MS)
    if at.policy.limits and behind:
        oldest = min(newest.values())
        yield Hold(
            "limits_unchecked",
            f"the policy's limits cannot be checked since {utc(oldest)}: {_partitions(behind)} "
            f"{'have' if len(behind) > 1 else 'has'} had no watermark for {(at.now - oldest) / 1000:,.0f} s",
        )


def _no_predictions(at: Situation, counts: Counts) -> Iterator[Hold]:
    if at.now - at.since <= _GRACE_MS:
        return
    predicted = {lane: counts[lane].of_any_version for lane in LANES}
    if not any(predicted.values()):
        yield Hold(
            "no_data",
            f"no prediction of rollout {at.in_force.rollout} has been read since "
            f"{utc(max(at.since, at.now - at.policy.kept_for))}",
        )
        return
    pairs: tuple[tuple[Lane, Lane], ...] = ((CANARY, STABLE), (STABLE, CANARY))
    for lane, other in pairs:
        if lane not in _lanes(at) or predicted[lane]:
            continue
        look = at.looks.get(lane)
        share = at.in_force.split.weight(lane)
        expected = predicted[other] * share / (1 - share) if share < 1 else 0
        if (look is not None and look.unanswered) or expected >= _SOME:
            yield Hold(
                "no_predictions",
                f"{_named(at, lane)} has {share:.3g} of the requests since {utc(at.since)} and has given no "
                f"prediction, {other} has given {predicted[other]:,}",
            )


def _late(at: Situation, counts: Counts) -> Iterator[Hold]:
    for lane in LANES:
        total = counts[lane]
        if total.late >= _SOME and total.late * 2 > total.predicted:
            yield Hold(
                "late",
                f"{total.late:,} of the {total.predicted:,} predictions of {_named(at, lane)} came more than "
                f"{_seconds(at.policy.prediction_deadline)} s after their routing and do not count",
            )


def _not_ours(at: Situation, counts: Counts) -> Iterator[Hold]:
    bound = {STABLE: at.versions.stable, CANARY: at.versions.canary}
    for lane in LANES:
        for version, predicted in sorted(counts[lane].foreign.items()):
            if predicted:
                yield Hold(
                    "not_ours",
                    f"{lane}'s predictions carry version {version}, the rollout is bound to {bound[lane]}: "
                    f"{predicted:,} of the newest do not count; end the scoring job of {version}, or set {lane} in "
                    "':models' to it",
                )


def _other_settings(at: Situation, _: Counts) -> Iterator[Hold]:
    """Evidence does not say by which settings an answer was found right: those of another run would be bet on."""
    if at.joined_by is None:
        return
    pairs = ((name, getattr(at.policy, name), getattr(at.joined_by, name)) for name in JOINED_BY)
    changed = [f"{name} {now} in place of {then}" for name, then, now in pairs if now != then]
    if changed:
        yield Hold(
            "other_settings",
            f"the monitor joins with other settings than rollout {at.in_force.rollout} began with (times in ms): "
            f"{', '.join(changed)}; its evidence is of both: set them back and restart the monitors, or begin "
            "another rollout",
        )


def _labels(at: Situation, counts: Counts) -> Iterator[Hold]:
    """Too few, none, or none any more: of both lanes together, since labels come from one place."""
    if at.policy.metric("accuracy").role == "off":
        return
    predicted, labelled = (sum(getattr(counts[lane], name) for lane in LANES) for name in ("predicted", "labelled"))
    newest = "" if at.last_label_at is None else f"; the newest label came at {utc(at.last_label_at)}"
    if labelled == 0:
        if predicted and at.now - at.since > _GRACE_MS:
            yield Hold("no_labels", f"none of the {predicted:,} predictions of this rollout has a label yet")
        return
    complete_until = min(at.fold.watermarks.values(), default=0)
    waited = min(at.ripe_age, 2 * (_slowest(counts) or 0) + CLOCK_SKEW_MS)
    due = list(islice(_predicted(counts, complete_until - waited), _NEWEST))
    without = sum(tally.predicted for window in due for tally in window)
    if without >= _SOME and not any(tally.labelled for window in due for tally in window):
        yield Hold(
            "labels_stopped",
            f"labels have stopped: none has come for {without:,} predictions that are older than "
            f"{_seconds(waited)} s{newest}",
        )
        return
    until = complete_until - at.policy.window - at.ripe_age
    had_time, came = map(sum, zip(*(counts[lane].until(until) for lane in LANES), strict=True))
    if had_time >= _SOME and came < at.policy.min_coverage * had_time:
        yield Hold(
            "few_labels",
            f"too few labels: {came:,} for the {had_time:,} predictions that are older than {_seconds(at.ripe_age)} s, "
            f"less than min_coverage, {at.policy.min_coverage:g}{newest}",
        )


def _agreement(at: Situation, counts: Counts) -> Iterator[Hold]:
    for lane in LANES:
        total = counts[lane]
        if total.labelled >= _AGREE and total.correct == 0 and total.errors < total.predicted:
            yield Hold(
                "no_agreement",
                f"none of {_named(at, lane)}'s {total.labelled:,} labelled predictions agrees with its label: a "
                "prediction is right where it equals its label, so let the model return what labels hold (a class, no "
                "probability), or set route.tolerance or route.bad",
            )


def _tests(at: Situation, _: Counts) -> Iterator[Hold]:
    if at.summary is None:
        return
    for verdict in at.summary.verdicts:
        if verdict.role == "signal" and verdict.status is Status.UNHEALTHY and (reason := _reason(verdict.metric)):
            yield Hold(reason, verdict.reason)
    if at.summary.entities_used_up:
        yield Hold(
            "entities_used_up",
            "each user or key (entity) in canary's share has been counted, and no new ones come, so no more is "
            "learned: a larger share, a shorter entity_period or assign_by = request would change that",
        )
    if at.summary.max_labels_reached:
        yield Hold("max_labels", f"no decision within {at.policy.max_labels:,} labels of canary")


_RULES: Final[tuple[Callable[[Situation, Counts], Iterator[Hold]], ...]] = (
    _unjudged,
    _silent,
    _no_job,
    _stale,
    _limits,
    _no_predictions,
    _late,
    _not_ours,
    _other_settings,
    _labels,
    _agreement,
    _tests,
)


def _reason(metric: str) -> HoldReason | None:
    return next((reason for reason in REASONS if reason == metric), None)


def _lanes(at: Situation) -> tuple[Lane, ...]:
    """Those with a share."""
    return tuple(lane for lane in LANES if at.in_force.split.weight(lane) > 0)


def _named(at: Situation, lane: Lane) -> str:
    version = at.versions.canary if lane == CANARY else at.versions.stable
    return f"{lane} {version}" if version else lane


def _predicted(counts: Counts, ended_by: int) -> Iterator[list[Tally]]:
    """The counts of both lanes in the windows that had ended by then and have predictions, newest first."""
    both = heapq.merge(*(counts[lane].newest(ended_by) for lane in LANES), key=lambda one: one[0], reverse=True)
    for _, found in groupby(both, lambda one: one[0]):
        tallies = [tally for _, tally in found]
        if any(tally.predicted for tally in tallies):
            yield tallies


def _slowest(counts: Counts) -> int | None:
    """The 98 % quantile of the labels' delays in the newest windows that have labels, in milliseconds."""
    delays = Counter[int]()
    for lane in LANES:
        for tally in islice(counts[lane].with_labels(), _SAMPLE):
            delays.update(tally.delays)
    return quantile(delays, 0.98)


def _partitions(numbers: list[int]) -> str:
    return f"partition{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _seconds(ms: int) -> str:
    return f"{ms / 1000:,.15g}"
