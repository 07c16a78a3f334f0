"""Settings: where they come from, how a wrong one is refused, and that no secret is shown."""

import pytest

from stream_router.core.policy import METRICS, Limit, MetricPolicy, Policy
from stream_router.errors import SettingError
from stream_router.settings import is_secret, load_settings, masked_url, without_secrets

PASSWORD = "hunter2-hunter2"  # noqa: S105 - must not turn up anywhere


@pytest.fixture
def write(tmp_path):
    def write(text):
        file = tmp_path / "settings.toml"
        file.write_text(text)
        return file

    return write


def test_flags_win_over_variables_and_variables_over_the_file(monkeypatch, write):
    file = write('bootstrap_servers = "file:1"\nlog_level = "error"\nlog_format = "json"')
    monkeypatch.setenv("STREAM_ROUTER_BOOTSTRAP_SERVERS", "variable:1")
    monkeypatch.setenv("STREAM_ROUTER_LOG_LEVEL", "debug")
    settings = load_settings(file, {"bootstrap_servers": "flag:1", "log_level": None})
    assert (settings.bootstrap_servers, settings.log_level, settings.log_format) == ("flag:1", "debug", "json")


def test_client_settings_of_all_sources_are_merged_one_by_one(monkeypatch, write):
    file = write('[kafka]\n"linger.ms" = "1"\n"client.id" = "file"\n"batch.size" = "7"')
    monkeypatch.setenv("STREAM_ROUTER_KAFKA", '{"linger.ms": "2", "client.id": "variable"}')
    settings = load_settings(file, {"kafka": {"linger.ms": "3"}})
    assert settings.kafka == {"linger.ms": "3", "client.id": "variable", "batch.size": "7"}


def test_client_settings_may_be_written_as_toml_writes_them(write):
    settings = load_settings(write("[kafka]\nlinger.ms = 5\nenable.idempotence = true"))
    assert settings.kafka == {"linger.ms": "5", "enable.idempotence": "true"}


def test_nested_variables_reach_the_policy(monkeypatch):
    monkeypatch.setenv("STREAM_ROUTER_POLICY__WINDOW", "1.5")
    assert load_settings().policy.to_policy().window == 1500


def test_the_file_may_be_named_by_a_variable(monkeypatch, write):
    monkeypatch.setenv("STREAM_ROUTER_CONFIG", str(write('bootstrap_servers = "file:1"')))
    assert load_settings().bootstrap_servers == "file:1"


def test_the_file_of_the_current_folder_is_read(monkeypatch, tmp_path):
    (tmp_path / "stream-router.toml").write_text("metrics_port = 9100")
    monkeypatch.chdir(tmp_path)
    assert load_settings().metrics_port == 9100


POLICY_TABLES = """
[policy]
label_horizon = 3600
tolerance = 0.5
relative_tolerance = 0.1
bad = "my_company.judging:is_bad"
ripe_age = 90.5
beta = 0.1

[policy.metrics.accuracy]
weight = 0.5
margin = 0.03

[policy.metrics.latency_p99]
role = "guardrail"

[policy.metrics.revisions]
role = "off"

[[policy.limits]]
metric = "error_rate"
bound = 0.05

[[policy.limits]]
metric = "latency_p99"
bound = 0.2
windows = 10
predictions = 1000
"""


def test_a_table_of_a_metric_changes_only_what_it_names(write):
    policy = load_settings(write(POLICY_TABLES)).policy.to_policy()
    changed = {
        "accuracy": MetricPolicy(name="accuracy", role="guardrail", weight=0.5, margin=0.03),
        "latency_p99": MetricPolicy(name="latency_p99", role="guardrail", weight=0.065, margin=0.01),
        "revisions": MetricPolicy(name="revisions", role="off", weight=0.2),
    }
    assert policy == Policy(
        label_horizon=3_600_000,
        tolerance=0.5,
        relative_tolerance=0.1,
        bad="my_company.judging:is_bad",
        ripe_age=90_500,
        beta=0.1,
        metrics=tuple(changed.get(metric.name, metric) for metric in METRICS),
        limits=(
            Limit(metric="error_rate", bound=0.05, windows=3, predictions=100),
            Limit(metric="latency_p99", bound=0.2, windows=10, predictions=1000),
        ),
    )


def test_what_a_rollout_is_judged_by_may_be_in_variables(monkeypatch, write):
    """A value of a table beside what the file says, a list in place of the file's."""
    variables = {
        "METRICS__ACCURACY__WEIGHT": "0.4",
        "METRICS__ERROR_RATE": '{"margin": 0.2}',
        "LIMITS": '[{"metric": "accuracy", "bound": 0.7}]',
        "RIPE_AGE": "horizon",
        "TOLERANCE": "2",
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"STREAM_ROUTER_POLICY__{name}", value)
    policy = load_settings(write(POLICY_TABLES)).policy.to_policy()
    assert policy.metric("accuracy") == MetricPolicy(name="accuracy", role="guardrail", weight=0.4, margin=0.03)
    assert policy.metric("error_rate") == MetricPolicy(name="error_rate", role="guardrail", weight=0.2, margin=0.2)
    assert policy.limits == (Limit(metric="accuracy", bound=0.7),)
    assert (policy.ripe_age, policy.tolerance, policy.bad) == (3_600_000, 2.0, "my_company.judging:is_bad")


def test_all_of_alpha_may_be_given_away_and_no_more():
    names = [metric.name for metric in METRICS if metric.name.endswith(("accuracy", "rate", "p50", "p99"))]
    tenths = {name: {"weight": 0.5 if name == "accuracy" else 0.1, "role": "guardrail"} for name in names}
    assert len(load_settings(flags={"policy": {"metrics": tenths}}).policy.to_policy().metrics) == len(METRICS)
    with pytest.raises(SettingError, match=r"all guardrails add up to 1\.01 \(accuracy 0\.51, error_rate 0\.1"):
        load_settings(flags={"policy": {"metrics": tenths | {"accuracy": {"weight": 0.51, "role": "guardrail"}}}})


@pytest.mark.parametrize("name", ["attrition", "coverage", "revisions", "prediction_mix"])
def test_what_tells_that_lanes_differ_and_not_which_is_worse_rolls_nothing_back(name):
    with pytest.raises(SettingError, match=f"{name} cannot be a guardrail: .*expected signal or off"):
        load_settings(flags={"policy": {"metrics": {name: {"role": "guardrail", "weight": 0.1}}}})


def test_a_metric_that_is_off_has_no_part_of_alpha():
    weights = {"accuracy": {"weight": 1}, "error_rate": {"role": "off"}}
    assert load_settings(flags={"policy": {"metrics": weights}}).policy.to_policy().metric("accuracy").weight == 1


NAN = float("nan")


@pytest.mark.parametrize(
    ("policy", "name", "value", "form"),
    [
        ({"metrics": {"speed": {}}}, "policy.metrics.speed", "'speed'", "'error_rate'"),
        ({"metrics": {"accuracy": {"weigth": 1}}}, "policy.metrics.accuracy.weigth", "1", "role, weight, margin"),
        ({"metrics": {"accuracy": {"weight": -1}}}, "policy.metrics.accuracy.weight", "-1", "greater than"),
        ({"metrics": {"accuracy": {"weight": NAN}}}, "policy.metrics.accuracy.weight", "nan", "finite"),
        ({"metrics": {"accuracy": {"margin": NAN}}}, "policy.metrics.accuracy.margin", "nan", "finite"),
        ({"metrics": {"accuracy": {"margin": 0}}}, "policy.metrics.accuracy.margin", "0", "greater than 0"),
        (
            {"metrics": {"accuracy": {"role": "boss"}}},
            "policy.metrics.accuracy.role",
            "'boss'",
            "'guardrail', 'signal'",
        ),
        ({"metrics": {"accuracy": "off"}}, "policy.metrics.accuracy", "'off'", "a table"),
        ({"metrics": {"coverage": {"weight": 0.5}}}, "policy.metrics", "0.5", "all signals add up to 1.3"),
        ({"limits": {"metric": "error_rate"}}, "policy.limits", "'error_rate'", "a list of tables"),
        ({"limits": [{"metric": "error_rate"}]}, "policy.limits.0.bound", "error_rate", "missing"),
        ({"limits": [{"metric": "errors", "bound": 0}]}, "policy.limits.0.metric", "'errors'", "'error_rate'"),
        ({"limits": [{"metric": "error_rate", "bound": 5}]}, "policy.limits.0", "5", "0.05 for 5 %"),
        ({"limits": [{"metric": "latency_p50", "bound": NAN}]}, "policy.limits.0.bound", "nan", "finite"),
        ({"limits": [{"metric": "latency_p50", "bound": -1}]}, "policy.limits.0.bound", "-1", "greater than"),
        (
            {"limits": [{"metric": "latency_p50", "bound": 1, "window": 1}]},
            "policy.limits.0.window",
            "1",
            "metric, bound, windows, predictions",
        ),
        (
            {"limits": [{"metric": "accuracy_drop", "bound": 0.1, "predictions": 20_000}]},
            "policy.limits.0",
            "20000",
            "10,000 labels are remembered",
        ),
        ({"tolerance": -0.1}, "policy.tolerance", "-0.1", "greater than or equal to 0"),
        ({"relative_tolerance": NAN}, "policy.relative_tolerance", "nan", "finite"),
        ({"bad": "judging"}, "policy.bad", "'judging'", "MODULE:CALLABLE"),
        ({"ripe_age": "later"}, "policy.ripe_age", "'later'", "'horizon'"),
        ({"ripe_age": NAN}, "policy.ripe_age", "nan", "'horizon'"),
        ({"ripe_age": 61, "label_horizon": 60}, "policy.ripe_age", "61", "0 to label_horizon (60)"),
        ({"beta": 1}, "policy.beta", "1", "less than 1"),
    ],
)
def test_a_wrong_policy_is_refused_with_name_value_and_right_form(policy, name, value, form):
    with pytest.raises(SettingError) as refused:
        load_settings(flags={"policy": policy})
    sentence = str(refused.value)
    assert sentence.startswith(f"setting {name} is ")
    assert value in sentence
    assert form in sentence


@pytest.mark.parametrize(
    ("flags", "name", "value", "form"),
    [
        ({"log_level": "loud"}, "log_level", "'loud'", "'debug', 'info', 'warning' or 'error'"),
        ({"metrics_port": 70_000}, "metrics_port", "70000", "less than or equal to 65535"),
        ({"policy": {"alpha": 5}}, "policy.alpha", "5", "less than 1"),
        ({"policy": {"alpha": 1e-320}}, "policy.alpha", "1e-320", "greater than or equal to 0.000000001"),
        ({"policy": {"beta": 1e-10}}, "policy.beta", "1e-10", "greater than or equal to 0.000000001"),
        ({"policy": {"silent_for": 0}}, "policy.silent_for", "0", "greater than 0"),
        ({"policy": {"windoww": 5}}, "policy.windoww", "5", "label_horizon"),
        ({"bootstrap_servers": ""}, "bootstrap_servers", "''", "at least 1 character"),
        ({"dead_letters": {"ratio": "much"}}, "dead_letters.ratio", "'much'", "valid number"),
    ],
)
def test_a_wrong_setting_is_refused_with_name_value_and_right_form(flags, name, value, form):
    with pytest.raises(SettingError) as refused:
        load_settings(flags=flags)
    for part in (name, value, form):
        assert part in str(refused.value)
    assert refused.value.exit_code == 2


def test_a_misspelt_variable_is_refused_and_the_right_ones_named(monkeypatch):
    monkeypatch.setenv("STREAM_ROUTER_BOOTSTRAP_SERVER", "host:1")
    with pytest.raises(SettingError, match=r"STREAM_ROUTER_BOOTSTRAP_SERVER .*STREAM_ROUTER_BOOTSTRAP_SERVERS"):
        load_settings()


def test_an_entry_of_the_file_that_is_no_setting_is_refused(write):
    with pytest.raises(SettingError, match="bootstrap"):
        load_settings(write('bootstrap = "host:1"'))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(SettingError, match="does not exist"):
        load_settings(tmp_path / "none.toml")


@pytest.mark.parametrize("text", ["log_level = ", "= 1"])
def test_a_file_that_is_not_toml_is_refused(write, text):
    with pytest.raises(SettingError, match="cannot be read"):
        load_settings(write(text))


def test_a_variable_that_is_not_json_is_refused(monkeypatch):
    monkeypatch.setenv("STREAM_ROUTER_KAFKA", "linger.ms=5")
    with pytest.raises(SettingError, match="kafka"):
        load_settings()


def test_secrets_are_not_in_the_representation():
    settings = load_settings(
        flags={
            "redis_url": f"redis://me:{PASSWORD}@host:1/0",
            "kafka": {"sasl.password": PASSWORD},
            "redis": {"password": PASSWORD},
        },
    )
    assert settings.redis_url.get_secret_value().count(PASSWORD) == 1
    assert PASSWORD not in repr(settings) + str(settings)


@pytest.mark.parametrize("flags", [{"redis_url": [PASSWORD]}, {"kafka": PASSWORD}, {"redis": PASSWORD}])
def test_secrets_are_not_in_refusals(flags):
    with pytest.raises(SettingError) as refused:
        load_settings(flags=flags)
    assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize("name", ["sasl.password", "ssl.key.password", "sasl.oauthbearer.client.secret", "redis_url"])
def test_names_of_secrets_are_known(name):
    assert is_secret(name)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis://me:{PASSWORD}@host:1/0", "redis://host:1/0"),
        (f"rediss://host/0?password={PASSWORD}", "rediss://host/0?(hidden)"),
        (f"redis://host/0?db=3&pass%77ord={PASSWORD}&x={PASSWORD}", "redis://host/0?(hidden)"),
        (f"unix://me:{PASSWORD}@/run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        ("redis://[::1]:6379/0?socket_timeout=1", "redis://[::1]:6379/0?socket_timeout=1"),
        (f"redis://:a/{PASSWORD}@host", "redis://(hidden)"),
        (f"redis://:1?{PASSWORD}@host", "redis://(hidden)"),
        (f"redis://:1#{PASSWORD}@host", "redis://(hidden)"),
        (f"redis://host/0?password={PASSWORD}@{PASSWORD}", "redis://(hidden)"),
        (f"redis://host/0?password=1#{PASSWORD}", "redis://host/0?(hidden)"),
        (f"redis://host/{PASSWORD}@", "redis://(hidden)"),
        (f"redis://me:{PASSWORD}\u2100@host", "redis://(hidden)"),
        (f"redis://[{PASSWORD}", "redis://(hidden)"),
        (PASSWORD, "(hidden)"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url, shown):
    assert masked_url(url) == shown


def test_urls_in_a_sentence_are_shown_without_their_secrets():
    sentence = f"redis at redis://host/0?password={PASSWORD} and at redis://me:{PASSWORD}@host:1/0: does not answer"
    assert without_secrets(sentence) == "redis at redis://host/0?(hidden) and at redis://host:1/0: does not answer"


def test_a_url_under_a_misspelt_name_is_refused_without_its_secrets(write):
    for text in (f'redis_ulr = "redis://me:{PASSWORD}@host"', f'topics = {{ uri = "redis://h?password={PASSWORD}" }}'):
        with pytest.raises(SettingError, match="there is none of that name") as refused:
            load_settings(write(text))
        assert PASSWORD not in str(refused.value)
