"""From evidence of every kind to verdicts: which metric decides, what only holds, and the rules beside the tests."""

from dataclasses import asdict, replace

import pytest
from support.evidence import KINDS, POLICY, SECOND, Simulation, flush, in_force, outcome, started

from stream_router.adapters.arrays import pack, unpack
from stream_router.core.deciding.fold import EvidenceFold
from stream_router.core.deciding.numbers import Status
from stream_router.core.evidence import (
    ACCURACY,
    ERROR,
    LATENCY,
    MODEL_LATENCY,
    PREDICTION,
    BadDelays,
    Count,
    Evidence,
    Silence,
)
from stream_router.core.histogram import bucket_of
from stream_router.core.policy import METRICS, Limit, Policy
from stream_router.core.rollout.controller import Controller
from stream_router.core.routing.applied_split import AppliedSplit, Versions

CALM = {"stable": 0.1, "canary": 0.1}


def folded(records, fold=None, partitions=2):
    fold, verdicts = fold or EvidenceFold(POLICY, partitions), []
    for offset, record in enumerate(records, fold.snapshot()["offset"] + 1):
        verdicts += fold.on_record(offset, record).verdicts
        fold.windows.drop_changed()
    return fold, verdicts


def with_role(role, *names, policy=POLICY):
    return replace(
        policy, metrics=tuple(replace(one, role=role) if one.name in names else one for one in policy.metrics)
    )


def test_a_canary_that_only_fails_is_rolled_back_with_no_label_at_all():
    failing = Simulation(seed=1, kinds=(ERROR,), fails={"stable": 0.02, "canary": 0.4}, error=CALM)
    fold, verdicts = folded(failing.records())
    (decided,) = fold.decided
    assert decided == verdicts[0] == fold.summary(1).verdict
    assert (decided.metric, decided.role, decided.status) == ("error_rate", "guardrail", Status.UNHEALTHY)
    assert decided.reason.startswith("canary v2 fails more often than stable v1: ")
    assert decided.numbers.threshold == pytest.approx(100)
    accuracy = fold.summary(1).verdicts[0]
    assert (accuracy.metric, accuracy.status) == ("accuracy", Status.INCONCLUSIVE)
    assert "nothing is known yet" in accuracy.reason


SLOW = Simulation(
    seed=2, a_second=120, kinds=(LATENCY, MODEL_LATENCY, PREDICTION), slowness={"stable": 1.0, "canary": 3.0}
)


def test_a_slow_canary_is_told_by_latency_and_only_holds():
    fold, verdicts = folded(SLOW.records())
    found = {verdict.metric: verdict for verdict in verdicts}
    assert {"latency_p50", "latency_p99", "model_latency_p50", "model_latency_p99"} == set(found)
    assert found["latency_p99"].reason.startswith("canary v2 answers slower than stable v1's p99 of ")
    summary = fold.summary(1)
    assert (fold.decided, summary.verdict.role, summary.verdict.status) == ((), "signal", Status.UNHEALTHY)
    assert [one for one in summary.verdicts if one.metric in found] == [
        found[one.name] for one in METRICS if one.name in found
    ], "final, as of the record at which each fell"


def test_latency_as_a_guardrail_rolls_back():
    slow = replace(SLOW, policy=with_role("guardrail", "latency_p99"))
    fold, verdicts = folded(slow.records())
    (decided,) = fold.decided
    assert decided.metric == "latency_p99"
    assert decided in verdicts
    assert fold.summary(1).verdict == decided


def test_the_controller_rolls_back_by_guardrails_alone():
    fold, _ = folded(SLOW.records())
    one = Controller(policy=POLICY, fold=fold, position=1_000, next_offset=1_000)
    one.on_split(
        AppliedSplit(raw=b'{"stable": 0.9, "canary": 0.1}', canary=0.1, epoch=1, rollout=1, bound=Versions("v1", "v2"))
    )
    assert one.due_writes(now=9).events == ()


def at_once(*kinds, bad=60):
    """Evidence of one window in which most of canary's answers are errors, all of it ripe at one record."""
    rows = [
        outcome(
            lane=lane,
            entity=number,
            order=number,
            metric=kind,
            bad=lane == "canary" and number < bad,
            time=number * SECOND,
        )
        for kind in kinds
        for lane, numbers in (("canary", range(100)), ("stable", range(100, 300)))
        for number in numbers
    ]
    return [started(), in_force(canary=0.3), flush(0, *rows), flush(0, watermark=40 * SECOND)]


def test_a_canary_that_fails_and_one_that_is_wrong_are_told_apart():
    """An error gives no outcome of accuracy, so nothing has to be said of it there."""
    for kind, metric in ((ACCURACY, "accuracy"), (ERROR, "error_rate")):
        fold, verdicts = folded(at_once(kind), partitions=1)
        assert [verdict.metric for verdict in verdicts] == [metric]
        assert [verdict.metric for verdict in fold.decided] == [metric]
    assert "60.0 % (60 of 100 sampled answers)" in fold.summary(1).verdict.reason


def test_of_a_lane_and_second_one_error_counts():
    """A job that fails for a second is one failure, however many batches it spoils; another lane's is another."""
    spoiled = [outcome(entity=n, order=n, metric=ERROR, bad=True, time=SECOND + n) for n in range(999)]
    stable = [outcome(lane="stable", entity=10_000 + n, order=n, metric=ERROR, time=2 * SECOND + n) for n in range(999)]
    other = outcome(entity=5_000, order=0, metric=ERROR, time=2 * SECOND)
    records = [started(), in_force(canary=0.3), flush(0, *spoiled, *stable), flush(1, other)]
    fold, _ = folded([*records, flush(0, watermark=40 * SECOND), flush(1, watermark=40 * SECOND)])
    known = fold.summary(1).kinds[ERROR]
    assert (known.in_open_blocks, known.repeats) == (3, 0)


def test_of_a_second_the_least_hash_counts_whatever_its_outcome():
    rows = [outcome(entity=n, order=n, metric=ERROR, bad=n % 2 == 0, time=SECOND + n) for n in range(7, 0, -1)]
    policy = replace(POLICY, block_time=SECOND)
    records = [started(policy=policy), in_force(canary=0.3), flush(0, *rows), flush(0, watermark=40 * SECOND)]
    fold = EvidenceFold(policy, 1)
    for offset, record in enumerate([*records, flush(0, watermark=50 * SECOND)]):
        outputs = fold.on_record(offset, record)
    (closed,) = (one.block for one in outputs.blocks if one.block.metric == ERROR)
    assert (closed.canary["order"].tolist(), closed.canary["bad"].tolist()) == ([1], [False])


def test_of_guardrails_that_fall_together_the_policys_first_decides():
    latency = [replace(one, role="guardrail", weight=1.0) for one in METRICS if one.name.startswith("latency")]
    for metrics in (latency, latency[::-1]):
        policy = replace(POLICY, metrics=tuple(metrics))
        warm = [outcome(lane="stable", order=n, metric=LATENCY, value=0.1) for n in range(1_000)]
        slow = [
            outcome(lane=lane, order=n, metric=LATENCY, value=value, window=10 * SECOND)
            for lane, value in (("stable", 0.1), ("canary", 0.2))
            for n in range(50)
        ]
        records = [flush(0, *warm), flush(0, watermark=15 * SECOND), flush(0, *slow), flush(0, watermark=25 * SECOND)]
        fold, verdicts = folded([started(policy=policy), in_force(canary=0.3), *records], partitions=1)
        assert [verdict.metric for verdict in verdicts] == [one.name for one in metrics]
        assert [verdict.metric for verdict in fold.decided] == [metrics[0].name]


def mature_by(horizon, error, seed=3):
    metrics = tuple(replace(one, margin=0.1) for one in METRICS if one.name in ("accuracy", "error_rate"))
    policy = replace(POLICY, metrics=metrics, label_horizon=horizon * SECOND)
    simulation = Simulation(seed=seed, seconds=150, a_second=40, kinds=(ACCURACY, ERROR), error=error, policy=policy)
    return folded(simulation.records())[0].summary(1)


def test_an_equal_canary_is_healthy_by_what_is_mature():
    summary = mature_by(30, CALM)
    assert [verdict.status for verdict in summary.verdicts] == [Status.HEALTHY] * 2
    assert summary.verdict.status is Status.HEALTHY
    assert summary.verdict.reason.endswith(
        "; its rate of bad ones is not greater by 10 points or more: e-value reached 20 = 1/beta"
    )


def test_labels_of_windows_in_which_some_are_missing_prove_nothing():
    """While an error rate is complete with the predictions."""
    summary = mature_by(141, CALM)
    assert [verdict.status for verdict in summary.verdicts] == [Status.INCONCLUSIVE, Status.HEALTHY]
    assert summary.verdict.metric == "accuracy"


def test_a_canary_that_is_worse_by_the_margin_is_rarely_healthy():
    worse = {"stable": 0.1, "canary": 0.2}
    statuses = [mature_by(30, worse, seed).verdicts[0].status for seed in range(6)]
    assert Status.HEALTHY not in statuses


def test_what_no_metric_reads_is_not_kept():
    policy = replace(POLICY, metrics=METRICS[:1])
    rows = [outcome(metric=kind, model_version="v9") for kind in (*KINDS[1:], "of a later version")]
    waiting, _ = folded([flush(0, *rows)])
    fold, _ = folded([started(policy=policy), in_force(), flush(0, *rows, watermark=SECOND)], waiting)
    summary = fold.summary(1)
    assert (summary.waiting, summary.unripe, list(summary.kinds)) == (0, 0, [ACCURACY])
    assert summary.left_out == {"not_ours": 0, "one_sided": 0, "unattributed": 0, "repeats": 0}


def test_outcomes_of_each_kind_ripen_in_their_own_time():
    """Predictions by the deadline, labels by the ripe age, what is known at the end by the horizon."""
    rows = [outcome(metric=kind) for kind in KINDS]
    fold, _ = folded([started(), in_force(), flush(0, *rows)], partitions=1)
    ripe_at = dict.fromkeys(KINDS, POLICY.window + POLICY.prediction_deadline)
    ripe_at |= {"accuracy": POLICY.window + 20 * SECOND, "labelling": POLICY.matures_after}
    for at in sorted(set(ripe_at.values())):
        for watermark in (at - 1, at):
            folded([flush(0, watermark=watermark)], fold)
            unripe = {kind for kind, known in fold.summary(1).kinds.items() if known.unripe}
            assert unripe == {kind for kind in KINDS if ripe_at[kind] > watermark}


def test_the_micro_batches_of_one_entity_all_count_and_its_requests_do_not():
    rows = [outcome(metric=kind, entity=7, order=n, time=n * SECOND) for kind in KINDS for n in range(5)]
    fold, _ = folded([started(), in_force(), flush(0, *rows), flush(0, watermark=POLICY.matures_after)], partitions=1)
    repeats = {kind: known.repeats for kind, known in fold.summary(1).kinds.items()}
    assert repeats == {kind: 0 if "latency" in kind else 4 for kind in KINDS}
    assert fold.summary(1).repeats == 16


def test_nothing_is_judged_where_no_metric_has_a_test():
    fold, _ = folded([started(policy=replace(POLICY, metrics=())), in_force(), flush(0, outcome(), watermark=SECOND)])
    summary = fold.summary(1)
    assert (summary.verdicts, summary.verdict.status, summary.verdict.numbers) == ((), Status.INCONCLUSIVE, None)
    assert "nothing is judged" in summary.verdict.reason


def silent(unanswered, at, lane="canary"):
    silence = Silence(lane=lane, rollout=1, oldest_routed_at=1, unanswered=unanswered)
    return Evidence(by="controller", written_at=at, silences=(silence,))


def silence_for(seconds, lane="canary"):
    return [silent(3, at * SECOND, lane) for at in range(seconds + 1)]


WATCHED = replace(POLICY, silent_for=7 * SECOND)


def test_a_canary_that_does_not_answer_holds_and_then_is_rolled_back():
    fold, verdicts = folded([started(policy=WATCHED), in_force(), *silence_for(6)])
    assert verdicts == []
    (hold,) = fold.summary(1).holds
    assert "canary v2 does not answer" in hold
    assert fold.silent(1) == {"canary"}
    fold, (verdict,) = folded([silent(3, 7 * SECOND)], fold)
    assert fold.decided == (verdict,)
    assert (verdict.metric, verdict.role, verdict.numbers, verdict.epoch) == ("silence", "guardrail", None, 1)
    assert fold.summary(1).verdict == fold.summary(1).verdicts[-1] == verdict
    assert fold.replay_from is None


def test_a_stable_lane_that_does_not_answer_only_holds():
    fold, verdicts = folded([started(), in_force(), *silence_for(60, "stable")])
    assert (verdicts, len(fold.summary(1).holds)) == ([], 1)


LIMITED = replace(POLICY, limits=(Limit(metric="error_rate", bound=0.05, windows=2, predictions=50),))


def failing_windows():
    """Canary alone, at a share of 1: nothing is tested there."""
    of = {"rollout": 1, "lane": "canary", "model_version": "v2", "predicted": 30}
    return [
        flush(
            0,
            counts=[Count(window=window * 10 * SECOND, errors=6 if window > 1 else 0, **of)],
            watermark=(window + 1) * 10 * SECOND,
        )
        for window in range(5)
    ]


def test_a_limit_rolls_back_where_nothing_is_tested_once_every_partition_is_complete():
    records = [started(policy=LIMITED), in_force(canary=1.0), *failing_windows()]
    fold, verdicts = folded(records)
    assert verdicts == [], "the other partition has told nothing"
    fold, verdicts = folded([flush(1, watermark=45 * SECOND - 1)], fold)
    assert verdicts == [], "answers of the window that ended at 40 s may still come"
    fold, (verdict,) = folded([flush(1, watermark=45 * SECOND)], fold)
    assert fold.decided == (verdict,)
    assert (verdict.metric, verdict.numbers, verdict.offset) == ("limit:error_rate", None, 8)
    assert verdict.reason.startswith("canary v2 breaks its limit: error rate ")
    assert fold.summary(1).verdict == verdict


@pytest.mark.parametrize(
    "records",
    [
        [started(policy=WATCHED), in_force(), *silence_for(10)],
        [started(policy=LIMITED), in_force(canary=1.0), *failing_windows(), *[flush(1, watermark=50 * SECOND)] * 2],
    ],
    ids=["silence", "limit"],
)
def test_a_snapshot_keeps_what_plain_rules_know_and_have_decided(records):
    for moved_at in range(len(records)):
        going, _ = folded(records[:moved_at])
        moving = EvidenceFold.restored(POLICY, 2, unpack(pack(going.snapshot())))
        for offset, record in enumerate(records[moved_at:], moved_at):
            assert moving.on_record(offset, record) == going.on_record(offset, record)
            assert moving.summary(1) == going.summary(1)
            assert moving.decided == going.decided
        assert len(going.decided) == 1


@pytest.mark.parametrize(
    ("matured", "ripe_age", "waits"),
    [(False, None, POLICY.label_horizon), (True, None, 51 * SECOND), (True, 7 * SECOND, 7 * SECOND)],
)
def test_accuracy_is_held_against_a_limit_once_labels_of_right_answers_are_there_too(matured, ripe_age, waits):
    """Labels of wrong answers come at once, of right ones after 50 s: the ripe age looks at the wrong ones alone."""
    policy = replace(POLICY, ripe_age=ripe_age)
    of = {"window": 0, "rollout": 0, "lane": "stable", "model_version": "v1", "predicted": 100, "labelled": 100}
    delays = {bucket_of(SECOND // 10): 10, bucket_of(50 * SECOND): 90}
    bad = BadDelays(0, {bucket_of(SECOND // 10): 100})
    told = flush(0, counts=[Count(**of, correct=90, delays=delays)], bad_delays=(bad,), watermark=20 * SECOND)
    at = POLICY.matures_after if matured else POLICY.matures_after - 1
    fold = EvidenceFold(policy, 1)
    for offset, record in enumerate([told, flush(0, watermark=at)]):
        fold.on_record(offset, record)
    assert waits <= fold.label_age <= waits * 9 / 8
    if ripe_age is None:
        assert fold.ripe_age < SECOND or not matured


def test_names_of_predicted_values_are_kept_up_to_a_number_and_outlive_a_move():
    records = [
        replace(flush(0), texts={float(n): f"class {n}" for n in range(start, start + 300)})
        for start in range(0, 1500, 300)
    ]
    fold, _ = folded([*records, *records])
    assert fold.snapshot()["texts"] == [[float(n), f"class {n}", 0] for n in range(1_000)]
    moved = EvidenceFold.restored(POLICY, 2, unpack(pack(fold.snapshot())))
    assert moved.snapshot()["texts"] == fold.snapshot()["texts"]


def test_names_go_with_the_rollouts_in_which_they_were_told():
    """Each owner tells them again in the next one, also before its first control record is read."""
    texts = {float(n): f"class {n}" for n in range(1_000)}
    told = [replace(flush(0, outcome(rollout=rollout)), texts=texts) for rollout in (1, 2)]
    told[1] = replace(told[1], texts={7.0: "class 7"})
    fold, _ = folded([in_force(rollout=1), told[0], told[1], in_force(epoch=2, rollout=2)])
    assert fold.snapshot()["texts"] == [[7.0, "class 7", 2]]
    fold, _ = folded([replace(told[1], texts={2_000.0: "new"})], fold)
    assert [text for _, text, _ in fold.snapshot()["texts"]] == ["class 7", "new"]


def test_what_a_rollout_that_begins_now_is_judged_by_stands_in_its_start_record():
    fold, _ = folded([started(), in_force()])
    assert fold.started(1).policy == POLICY
    assert [one.metric for one in fold.summary(1).verdicts] == [metric.name for metric in METRICS]
    assert fold.started(2) is None


@pytest.mark.parametrize("share", [0.5, 1.0])
@pytest.mark.parametrize("cut", [40, 70])
def test_a_replay_knows_of_stable_what_a_fold_that_read_on_knows(share, cut):
    """Windows of 10 s; labels of stable come at once where it is wrong, half a horizon later where it is right."""
    limit = Limit(metric="accuracy_drop", bound=0.05, windows=3, predictions=100)
    policy = replace(POLICY, limits=(limit,), metrics=())
    records = []
    for number in range(100):
        window, rollout = number * 10 * SECOND, int(number >= 30)
        if number == 30:
            records += [started(policy=policy), in_force(canary=share)]
        version = {"stable": "v1", "canary": "v2"}
        canary = Count(window=window, rollout=1, lane="canary", model_version="v2", labelled=50)
        at_once = Count(window=window, rollout=rollout, lane="stable", model_version=version["stable"], labelled=10)
        later = replace(at_once, window=window - 50 * SECOND, labelled=40, correct=40, rollout=int(number >= 35))
        counts = [replace(canary, correct=40 if number < 80 else 10)] if number >= 30 else []
        counts += [at_once] if not rollout or share < 1 else []
        counts += [later] if later.window >= 0 and (number < 35 or share < 1) else []
        records.append(flush(0, watermark=window, counts=counts))
    whole, parted = EvidenceFold(policy, 1), EvidenceFold(policy, 1)
    for offset, record in enumerate(records[:cut]):
        parted.on_record(offset, record)
    for offset, record in enumerate(records):
        whole.on_record(offset, record)
    start = parted.replay_from
    again = EvidenceFold(policy, 1)
    for offset, record in enumerate(records[start:], start):
        again.on_record(offset, record)
    assert start < cut
    assert [one.metric for one in whole.decided] == ["limit:accuracy_drop"]
    assert again.decided == whole.decided


def test_what_only_a_later_version_judges_by_is_passed_over():
    """A start record stands in the log for good: a controller that it ended would end at it for ever."""
    policy = Policy.of_fields(
        asdict(POLICY)
        | {
            "metrics": [asdict(POLICY.metric("accuracy")), {"name": "speed", "role": "guardrail", "weight": 0.1}],
            "limits": [{"metric": "speed", "bound": 0.1, "predictions": 1}],
        }
    )
    counts = [Count(window=0, rollout=1, lane="canary", model_version="v2", predicted=9, labelled=9)]
    fold, verdicts = folded(
        [started(policy=policy), in_force(), flush(0, counts=counts, watermark=900 * SECOND)],
        EvidenceFold(POLICY, 1),
    )
    assert verdicts == []
    assert [one.metric for one in fold.summary(1).verdicts] == ["accuracy"]
