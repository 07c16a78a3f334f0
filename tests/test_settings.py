"""Settings: where they come from, how a wrong one is refused, and that no secret is shown."""

import pytest

from stream_router.core.policy import ROUTE_SETTINGS, Policy
from stream_router.errors import SettingError
from stream_router.settings import RouteSettings, is_secret, load_settings, masked_url, policy_of, without_secrets

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


def test_nested_variables_reach_the_route(monkeypatch):
    monkeypatch.setenv("STREAM_ROUTER_ROUTE__WINDOW", "1.5")
    monkeypatch.setenv("STREAM_ROUTER_ROUTE__LABEL_HORIZON", "2h")
    policy = load_settings().route.to_policy()
    assert (policy.window, policy.label_horizon) == (1500, 7_200_000)


def test_the_file_may_be_named_by_a_variable(monkeypatch, write):
    monkeypatch.setenv("STREAM_ROUTER_CONFIG", str(write('bootstrap_servers = "file:1"')))
    assert load_settings().bootstrap_servers == "file:1"


def test_the_file_of_the_current_folder_is_read(monkeypatch, tmp_path):
    (tmp_path / "stream-router.toml").write_text("metrics_port = 9100")
    monkeypatch.chdir(tmp_path)
    assert load_settings().metrics_port == 9100


def test_what_evidence_is_made_with_is_the_routes(write):
    text = """
    [route]
    window = "10s"
    label_horizon = 3600
    prediction_deadline = 60
    assign_by = "request"
    tolerance = 0.5
    relative_tolerance = 0.1
    bad = "my_company.judging:is_bad"
    """
    settings = load_settings(write(text))
    assert settings.route.to_policy() == Policy(
        window=10_000,
        label_horizon=3_600_000,
        prediction_deadline=60_000,
        assign_by="request",
        tolerance=0.5,
        relative_tolerance=0.1,
        bad="my_company.judging:is_bad",
    )


def test_the_route_has_the_settings_that_no_rollout_may_change():
    assert set(RouteSettings.model_fields) == set(ROUTE_SETTINGS)


def test_the_policy_is_that_of_the_file_with_the_settings_of_the_route(monkeypatch, tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text("alpha: 0.01\nripe_age: horizon")
    monkeypatch.setenv("STREAM_ROUTER_POLICY", str(file))
    monkeypatch.setenv("STREAM_ROUTER_ROUTE__LABEL_HORIZON", "1h")
    assert policy_of(load_settings()) == Policy(alpha=0.01, label_horizon=3_600_000, ripe_age=3_600_000)


def test_without_a_file_it_is_the_built_in_one():
    assert policy_of(load_settings()) == Policy()


def test_a_variable_of_what_has_no_parts_is_refused(monkeypatch):
    monkeypatch.setenv("STREAM_ROUTER_POLICY__ALPHA", "0.1")
    with pytest.raises(SettingError, match=r"STREAM_ROUTER_POLICY__ALPHA .* it is STREAM_ROUTER_POLICY$"):
        load_settings()


NAN = float("nan")


@pytest.mark.parametrize(
    ("flags", "name", "value", "form"),
    [
        ({"log_level": "loud"}, "log_level", "'loud'", "'debug', 'info', 'warning' or 'error'"),
        ({"metrics_port": 70_000}, "metrics_port", "70000", "less than or equal to 65535"),
        ({"policy": {"alpha": 5}}, "policy", "5", "the path of a file"),
        ({"route": {"windoww": 5}}, "route.windoww", "5", "label_horizon"),
        ({"route": {"window": 0}}, "route.window", "0", "greater than 0"),
        ({"route": {"window": "soon"}}, "route.window", "'soon'", "30s, 5m, 2h or 1d"),
        ({"route": {"label_horizon": 1e300}}, "route.label_horizon", "1e+300", "ten years"),
        ({"route": {"tolerance": -0.1}}, "route.tolerance", "-0.1", "greater than or equal to 0"),
        ({"route": {"relative_tolerance": NAN}}, "route.relative_tolerance", "nan", "finite"),
        ({"route": {"bad": "judging"}}, "route.bad", "'judging'", "MODULE:CALLABLE"),
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
