"""The policy file: what is refused and in which words, and that a shown policy is the same when it is read."""

import json
import re
from contextlib import suppress

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stream_router.core.durations import PATTERN, duration_of, milliseconds_of
from stream_router.core.policy import METRICS, ROUTE_SETTINGS, Limit, MetricPolicy, Policy, Step
from stream_router.errors import PolicyError
from stream_router.policies.policy_file import LimitSettings, MetricSettings, PolicyFile, StepSettings, fields_of
from stream_router.policies.reading import parse_policy, read_policy
from stream_router.views.policy import yaml_text

MODELS = (PolicyFile, StepSettings, MetricSettings, LimitSettings)


def read(text, **of_route):
    found = parse_policy(text.encode(), Policy(**of_route))
    assert isinstance(found, Policy), "\n".join(map(str, found))
    return found


def faults(text, **of_route):
    found = parse_policy(text.encode(), Policy(**of_route))
    assert not isinstance(found, Policy)
    return [str(fault) for fault in found]


WHOLE = """
# A comment.
steps:
  - {weight: 0.02, hold_for: 30m}
  - weight: 0.2
    min_labels: 500
    until: healthy
  - {weight: 0.9, until: approved, pause: true}
metrics:
  accuracy: {weight: 0.5, margin: 0.03}
  latency_p99:
    role: guardrail
  revisions: {role: off}
limits:
  - {metric: error_rate, bound: 0.05}
  - {metric: latency_p99, bound: 200ms, windows: 10, predictions: 1000}
alpha: 0.01
beta: 1e-3
tolerated_odds_ratio: 1.1
max_labels: 5000
max_duration: 3d
on_inconclusive: pause
min_coverage: 0.8
entity_period: 12h
block_time: 90
ripe_age: 1.5h
silent_for: 90s
promotion_deadline: 45s
"""


def test_all_that_a_file_may_say_is_read():
    changed = {
        "accuracy": MetricPolicy(name="accuracy", role="guardrail", weight=0.5, margin=0.03),
        "latency_p99": MetricPolicy(name="latency_p99", role="guardrail", weight=0.065, margin=0.01),
        "revisions": MetricPolicy(name="revisions", role="off", weight=0.2),
    }
    assert read(WHOLE, window=7) == Policy(
        window=7,
        steps=(
            Step(weight=0.02, hold_for=1_800_000),
            Step(weight=0.2, min_labels=500, until="healthy"),
            Step(weight=0.9, until="approved", pause=True),
        ),
        metrics=tuple(changed.get(metric.name, metric) for metric in METRICS),
        limits=(
            Limit(metric="error_rate", bound=0.05, windows=3, predictions=100),
            Limit(metric="latency_p99", bound=0.2, windows=10, predictions=1000),
        ),
        alpha=0.01,
        beta=0.001,
        tolerated_odds_ratio=1.1,
        max_labels=5000,
        max_duration=259_200_000,
        on_inconclusive="pause",
        min_coverage=0.8,
        entity_period=43_200_000,
        block_time=90_000,
        ripe_age=5_400_000,
        silent_for=90_000,
        promotion_deadline=45_000,
    )


def test_the_example_names_every_field():
    assert set(yaml.safe_load(WHOLE)) == set(PolicyFile.model_fields)


@pytest.mark.parametrize("text", ["", "\n# nothing\n", "---\n", "{}", "null"])
def test_an_empty_file_is_the_built_in_policy(text):
    assert read(text) == Policy() == read_policy(None, Policy())


def test_a_field_of_a_policy_is_the_files_or_the_routes():
    fields = set(Policy.__dataclass_fields__)
    assert set(PolicyFile.model_fields) == fields - set(ROUTE_SETTINGS)
    assert set(ROUTE_SETTINGS) < fields


def test_a_ripe_age_of_the_whole_horizon_is_the_routes():
    assert read("ripe_age: horizon", label_horizon=5_000).ripe_age == 5_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps: [{weight: 5}]", "column 10: steps.0.weight is 5: expected a ratio of 0 to 1: 0.05 for 5 %"),
        ("steps: [{weight: 5%}]", "steps.0.weight is '5%': expected a ratio of 0 to 1: 0.05 for 5 %"),
        ("steps: [{weight: 1}]", "steps.0.weight is 1: expected from 1e-06 to 0.999999, such as 0.05 for 5 %"),
        ("steps: [{weight: 0}]", "steps.0.weight is 0: expected from 1e-06"),
        ("steps: [{weight: true}]", "steps.0.weight is True: expected a ratio"),
        ("steps: [{weight: .nan}]", "steps.0.weight is nan: expected a ratio"),
        (
            "steps: [{weight: 0.05, setWeight: 5}]",
            "steps.0.setWeight is no field of a policy: write weight: 0.05 for setWeight: 5",
        ),
        ("steps: [{hold_for: 1h}]", "steps.0.weight is missing: Canary's share of the requests"),
        ("steps: [0.1]", "steps.0 is 0.1: expected a mapping"),
        ("steps: {weight: 0.1}", "steps is {'weight': 0.1}: expected a list, each item after a dash"),
        ("steps: []", "steps is []: expected one or more, or leave it out"),
        ("steps:", "steps has no value: give it one, or leave it out"),
        ("steps:\n- weight: 0.3\n- weight: 0.2", "line 3, column 3: steps.1.weight is 0.2: the step before has 0.3"),
        ("steps: [{weight: 0.3}, {weight: 0.3}]", "steps.1.weight is 0.3: the step before has 0.3: expected more"),
        ("steps: [{weight: 0.1, until: aproved}]", "steps.0.until is 'aproved': did you mean approved?"),
        ("steps: [{weight: 0.1, pause: yes}]", "steps.0.pause is 'yes': expected true or false"),
        ("steps: [{weight: 0.1, hold_for: 6 hours}]", "steps.0.hold_for is '6 hours': expected a duration such as 30s"),
        ("steps: [{weight: 0.1, hold_for: -1s}]", "steps.0.hold_for is '-1s': expected a duration"),
        ("steps: [{weight: 0.1, hold_for: -1}]", "steps.0.hold_for is -1: expected a duration from 0"),
        ("steps: [{weight: 0.1, min_labels: 0}]", "steps.0.min_labels is 0: expected greater than or equal to 1"),
        ("max_labels: 1.5", "max_labels is 1.5: expected a whole number"),
        ("max_labels: true", "max_labels is True: expected a whole number"),
        ("max_duration: 5 years", "max_duration is '5 years': expected a duration"),
        ("max_duration: 0", "max_duration is 0: expected greater than 0"),
        ("block_time: 1e300", "block_time is 1e+300: expected a duration from 0 to ten years"),
        ("alpha: 0", "alpha is 0: expected greater than or equal to 0.000000001"),
        ("alpha: 1", "alpha is 1: expected less than 1"),
        ("beta:", "beta has no value"),
        ("tolerated_odds_ratio: 0.5", "tolerated_odds_ratio is 0.5: expected greater than or equal to 1"),
        ("tolerated_odds_ratio: .inf", "tolerated_odds_ratio is inf: expected a finite number"),
        ("min_coverage: 80", "min_coverage is 80: expected a ratio of 0 to 1: 0.8 for 80 %"),
        ("on_inconclusive: rollback", "on_inconclusive is 'rollback': expected 'stable' or 'pause'"),
        ("ripe_age: later", "ripe_age is 'later': expected a duration such as 30s, 5m, 2h or 1d, or 'horizon'"),
        ("ripe_age: 2d", "ripe_age is '2d': expected at most the route's label_horizon, 1d, or 'horizon'"),
        ("metrcs: {}", "metrcs is no field of a policy: did you mean metrics?"),
        ("surprise: 1", "surprise is no field of a policy: expected one of steps, metrics, limits, alpha"),
        ("label_horizon: 1h", "label_horizon is a setting of the route, not of its policy: set route.label_horizon"),
        ("[1, 2]", "the document is [1, 2]: expected a mapping"),
        ("policy", "the document is 'policy': expected a mapping"),
        ("metrics: {speed: {}}", "metrics.speed is none: expected 'accuracy', 'error_rate'"),
        ("metrics: {acuracy: {}}", "metrics.acuracy is none: did you mean accuracy?"),
        ("metrics: {accuracy: off}", "metrics.accuracy is 'off': expected a mapping"),
        ("metrics: {accuracy: {weigth: 1}}", "metrics.accuracy.weigth is no field of a policy: did you mean weight?"),
        ("metrics: {accuracy: {weight: -1}}", "metrics.accuracy.weight is -1: expected a ratio"),
        ("metrics: {accuracy: {margin: 0}}", "metrics.accuracy.margin is 0: expected greater than 0"),
        ("metrics: {accuracy: {role: boss}}", "metrics.accuracy.role is 'boss': expected 'guardrail', 'signal' or"),
        ("metrics: {coverage: {weight: 0.5}}", "all signals add up to 1.3"),
        ("limits: {metric: error_rate}", "limits is {'metric': 'error_rate'}: expected a list"),
        ("limits: [{metric: error_rate}]", "limits.0.bound is missing: A ratio of 0 to 1"),
        ("limits: [{metric: errors, bound: 0}]", "limits.0.metric is 'errors': did you mean error_rate?"),
        ("limits: [{metric: error_rate, bound: 5}]", "limits.0.bound is 5: expected a ratio of 0 to 1: 0.05 for 5 %"),
        ("limits: [{metric: latency_p50, bound: -1}]", "limits.0.bound is -1: expected a duration"),
        (
            "limits: [{metric: accuracy_drop, bound: 0.1, predictions: 20000}]",
            "limits.0.predictions is 20000: of stable no more than 10,000 labels are remembered",
        ),
    ],
)
def test_what_is_wrong_is_told_with_place_value_and_right_form(text, said):
    (told,) = faults(text)
    assert told.startswith("line ")
    assert said in told


def test_all_that_is_wrong_is_told_at_once_in_the_order_of_the_lines():
    told = faults("alpha: 5\nbeta: !!int 1\nsteps: [{weight: 7}]\nalpha: 1\nsurprise: 1")
    assert [line.partition(",")[0] for line in told] == [f"line {n}" for n in (1, 2, 2, 3, 4, 5)]


@pytest.mark.parametrize("name", ["attrition", "coverage", "revisions", "prediction_mix"])
def test_what_tells_that_lanes_differ_and_not_which_is_worse_rolls_nothing_back(name):
    (told,) = faults(f"metrics: {{{name}: {{role: guardrail, weight: 0.1}}}}")
    assert f"metrics.{name}.role is 'guardrail'" in told
    assert "expected signal or off" in told


def test_all_of_alpha_may_be_given_away_and_no_more():
    names = [metric.name for metric in METRICS if metric.name.endswith(("accuracy", "rate", "p50", "p99"))]
    tenths = {name: {"weight": 0.5 if name == "accuracy" else 0.1, "role": "guardrail"} for name in names}
    assert len(read(json.dumps({"metrics": tenths})).metrics) == len(METRICS)
    (told,) = faults(json.dumps({"metrics": tenths | {"accuracy": {"weight": 0.51, "role": "guardrail"}}}))
    assert "all guardrails add up to 1.01 (accuracy 0.51, error_rate 0.1" in told


def test_a_metric_that_is_off_has_no_part_of_alpha():
    assert read("metrics: {accuracy: {weight: 1}, error_rate: {role: off}}").metric("accuracy").weight == 1


durations = st.integers(1, 10**10).map(duration_of)
steps = st.lists(
    st.fixed_dictionaries(
        {"weight": st.floats(1e-6, 0.999)},
        optional={
            "hold_for": durations | st.floats(0, 1e6),
            "min_labels": st.integers(1, 10**6),
            "until": st.sampled_from(["healthy", "approved", None]),
            "pause": st.booleans(),
        },
    ),
    min_size=1,
    unique_by=lambda step: step["weight"],
).map(lambda steps: sorted(steps, key=lambda step: step["weight"]))
ratios = st.floats(1e-9, 0.99)
policies = st.fixed_dictionaries(
    {},
    optional={
        "steps": steps,
        "metrics": st.dictionaries(
            st.sampled_from([metric.name for metric in METRICS]),
            st.fixed_dictionaries({"weight": st.floats(1e-6, 0.02)}, optional={"margin": ratios}),
        ),
        "limits": st.lists(
            st.fixed_dictionaries(
                {"metric": st.sampled_from(["accuracy", "latency_p99"]), "bound": st.floats(0, 1)},
                optional={"windows": st.integers(1, 100)},
            )
        ),
        "alpha": ratios,
        "beta": ratios,
        "min_coverage": st.floats(0, 1),
        "tolerated_odds_ratio": st.floats(1, 100),
        "max_labels": st.integers(1, 10**12),
        "max_duration": durations | st.none(),
        "on_inconclusive": st.sampled_from(["stable", "pause"]),
        "entity_period": durations | st.none(),
        "block_time": durations | st.none(),
        "ripe_age": st.integers(0, 86_400) | st.just("horizon") | st.none(),
        "silent_for": durations | st.none(),
        "promotion_deadline": durations,
    },
)


@given(policies)
def test_a_policy_that_is_shown_is_the_same_when_it_is_read(document):
    policy = read(yaml.safe_dump(document))
    assert read(yaml_text("flights", policy, fields_of(policy))) == policy
    assert read(json.dumps(fields_of(policy))).digest == policy.digest


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["horizon", "off", "5%", "1h", "guardrail", "accuracy"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([name for model in MODELS for name in model.model_fields] + ["accuracy"]) | st.text(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(anything)
def test_any_document_is_a_policy_or_is_refused_with_places(document):
    found = parse_policy(yaml.safe_dump(document).encode(), Policy())
    assert isinstance(found, Policy) or all(str(fault).encode() and fault.line >= 1 for fault in found)


@given(st.binary())
def test_any_file_is_a_policy_or_a_policy_error(tmp_path_factory, data):
    file = tmp_path_factory.getbasetemp() / "policy.yaml"
    file.write_bytes(data)
    with suppress(PolicyError):
        assert isinstance(read_policy(file, Policy()), Policy)


def test_a_key_that_no_terminal_can_show_is_told_in_ascii():
    (told,) = faults('"\\uD800": 1')
    assert told.isascii()


@pytest.mark.parametrize("folder", [True, False])
def test_a_file_that_cannot_be_read_is_a_policy_error(tmp_path, folder):
    with pytest.raises(PolicyError, match="cannot be read"):
        read_policy(tmp_path if folder else tmp_path / "none.yaml", Policy())


def test_the_schema_tells_every_field_with_its_meaning_and_admits_no_other():
    schema = PolicyFile.model_json_schema()
    for model, told in [(PolicyFile, schema), *((model, schema["$defs"][model.__name__]) for model in MODELS[1:])]:
        assert set(told["properties"]) == set(model.model_fields)
        assert all(field["description"] for field in told["properties"].values())
        assert told["additionalProperties"] is False
    assert {"type": "string", "pattern": f"^{PATTERN}$"} in schema["properties"]["promotion_deadline"]["anyOf"]


@given(st.integers(0, 10**14))
def test_a_duration_is_read_as_it_is_written(milliseconds):
    text = duration_of(milliseconds)
    assert milliseconds_of(text) == milliseconds
    assert re.fullmatch(PATTERN, text)


@given(st.text())
def test_any_other_text_is_no_duration(text):
    try:
        assert milliseconds_of(text) >= 0
    except ValueError as error:
        assert "30s, 5m, 2h or 1d" in str(error)  # noqa: PT017
