"""Rates, ratios and rounds of the benchmarks, and where they are written."""

import re
from pathlib import Path

import page
import pytest
from assignment import rates
from click import ClickException
from goals import Goal, RatioGoal, judged
from load import KEYS, key_of
from measuring import Result, Sample, compared, interleaved, interval, measured
from memory import MIB, goals, rows
from quix import quix_is_missing

BENCHMARKS = Path(page.__file__).parent
MARKS = sorted(re.findall(r'page\.write\("([a-z-]+)"', "".join(file.read_text() for file in BENCHMARKS.glob("*.py"))))


def steady(rate, cpu, records, start=0.0):
    """Samples of a process that does so many records a second, each at so many seconds of CPU."""
    return [
        Sample(100.0 + start + seen / rate, seen, 3.0 + seen * cpu) for seen in range(0, records + 1, records // 50)
    ]


def test_a_steady_process_has_its_rate_and_its_cpu_a_record():
    result = measured(steady(rate=2_000, cpu=5e-6, records=10_000), 10_000)
    assert result.rate == pytest.approx(2_000)
    assert result.cpu == pytest.approx(5.0)


def test_a_slow_start_is_not_measured():
    waited = [Sample(0.0, 0, 0.0), *steady(rate=2_000, cpu=5e-6, records=10_000, start=60.0)]
    assert measured(waited, 10_000).rate == pytest.approx(2_000)


def test_records_that_come_many_at_once_are_not_counted_for_the_time_before_them():
    every_second = [
        Sample(at / 20, at // 20 * 1_000, at // 20 * 0.5) for at in range(201)
    ]  # looked at twenty times a second
    result = measured(every_second, 10_000)
    assert result.rate == pytest.approx(1_000)
    assert result.cpu == pytest.approx(500)


def test_too_few_steps_tell_nothing():
    with pytest.raises(ClickException, match="1,000 records came in 2 steps: give more"):
        measured([Sample(0.0, 0, 0.0), Sample(1.0, 500, 1.0), Sample(2.0, 1_000, 2.0)], 1_000)


def test_what_lies_before_the_given_share_is_not_measured():
    slow = [Sample(seen / 100, seen, 0.0) for seen in range(0, 5_000, 100)]
    fast = [Sample(50.0 + seen / 1_000, 5_000 + seen, 0.0) for seen in range(0, 5_001, 100)]
    assert measured([*slow, *fast], 10_000, first=0.5).rate == pytest.approx(1_000)


def test_every_round_runs_each_once_and_turns_their_order():
    ran = []

    def run(name):
        ran.append(name)
        return Result(1.0, 1.0)

    results = interleaved(["a", "b", "c"], 2, run)
    assert ran == ["a", "b", "c", "c", "b", "a"]
    assert {name: len(found) for name, found in results.items()} == {"a": 2, "b": 2, "c": 2}


def test_ratios_are_of_pairs_in_one_round():
    results = {"bare": [Result(100.0, 2.0), Result(10.0, 20.0)], "half": [Result(50.0, 4.0), Result(5.0, 40.0)]}
    *_, bare, half = compared(results, "bare", "record").splitlines()
    assert bare == "| bare | 55 | 11.00 | 1.00 (1.00 to 1.00) | 1.00 (1.00 to 1.00) |"
    assert half == "| half | 28 | 22.00 | 0.50 (0.50 to 0.50) | 2.00 (2.00 to 2.00) |"


def test_an_interval_holds_its_median():
    median, low, high = map(float, re.findall(r"[\d.]+", interval([0.8, 0.9, 1.0, 1.1, 1.2])))
    assert low <= median == 1.0 <= high


def test_a_table_replaces_what_stands_between_its_marks(tmp_path):
    file = tmp_path / "page.md"
    rest = "between\n<!-- ab -->\nkept\n<!-- /ab -->\n"
    file.write_text(f"before\n<!-- a -->\nold\n<!-- /a -->\n{rest}")
    page.write("a", page.table(["x", "y"], [["1", "2"]]), file)
    assert file.read_text() == f"before\n<!-- a -->\n| x | y |\n| --- | --- |\n| 1 | 2 |\n<!-- /a -->\n{rest}"


def test_a_table_of_times_says_which_goals_are_met():
    found = {"fast": [1.0, 2.0, 3.0], "slow": [1.0, 2.0, 90.0], "free": [5.0]}
    goals = {"fast": {"p50": 2, "most": 3}, "slow": {"p50": 2, "most": 89}}
    fast, slow, free = page.quantiles("ms", found, goals).splitlines()[2:]
    assert fast.endswith("| p50 <= 2, most <= 3 | yes |")
    assert slow.endswith("| p50 <= 2, most <= 89 | no: most |")
    assert free.endswith("|  |  |")


@pytest.mark.parametrize(
    ("goal", "figure", "row"),
    [
        (Goal("rate", least=3_000, form=",.0f"), 3_000, ["rate", "3,000", ">= 3,000", "yes"]),
        (Goal("rate", least=3_000, form=",.0f"), 2_990, ["rate", "2,990", ">= 3,000", "no"]),
        (Goal("share", most=0.03, form=".1%"), 0.031, ["share", "3.1%", "<= 3.0%", "no"]),
        (Goal("share", most=0.03, form=".1%"), None, ["share", "not run", "<= 3.0%", ""]),
    ],
)
def test_a_goal_is_met_by_its_bound_and_no_less(goal, figure, row):
    assert goal.judge(figure) == row


def test_the_median_of_ratios_decides_about_a_goal_of_two_variants():
    results = {"own": [Result(rate, 2.0) for rate in (90.0, 96.0, 200.0)], "bare": [Result(100.0, 1.0)] * 3}
    assert RatioGoal("rate", "own", "bare", least=0.95).judge(results) == [
        "rate of own against bare",
        "0.96 (0.90 to 2.00)",
        ">= 0.95",
        "yes",
    ]
    assert RatioGoal("cpu", "own", "bare", most=1.1).judge(results)[1:] == ["2.00 (2.00 to 2.00)", "<= 1.10", "no"]
    assert RatioGoal("cpu", "own", "skipped", most=1.1).judge(results)[1:] == ["not run", "<= 1.10", ""]


def test_goals_stand_in_a_table_of_their_own_below_the_figures():
    assert judged("| x |", [["a", "1", ">= 1", "yes"]]).splitlines() == [
        "| x |",
        "",
        "| figure | measured | goal | met |",
        "| --- | --- | --- | --- |",
        "| a | 1 | >= 1 | yes |",
    ]


def test_memory_that_grows_in_the_second_half_is_not_flat():
    growing = [(0, 100 * MIB), (499, 200 * MIB), (500, 210 * MIB), (999, 240 * MIB)]
    assert [row[1:] for row in goals(growing, 1_000)] == [["240", "<= 250", "yes"], ["1.20", "<= 1.10", "no"]]


def test_a_page_without_the_marks_is_not_touched(tmp_path):
    file = tmp_path / "page.md"
    file.write_text("nothing")
    with pytest.raises(ValueError, match="unpack"):
        page.write("a", "lines", file)
    assert file.read_text() == "nothing"


@pytest.mark.parametrize("name", MARKS)
def test_the_page_has_a_place_for_each_table(name):
    text = page.PAGE.read_text()
    assert text.count(f"<!-- {name} -->") == text.count(f"<!-- /{name} -->") == 1


def test_the_memory_of_a_tenth_is_its_most():
    samples = [(0, 90 * MIB), (50, 110 * MIB), (99, 100 * MIB), (100, 120 * MIB), (1_003, 130 * MIB)]
    assert rows(samples, 1_000) == [["100", "110"], ["200", "120"], ["1,000", "130"]]


def test_each_batch_of_an_assignment_has_a_rate():
    found = rates(3)
    assert len(found) == 3
    assert min(found) > 0


def test_keys_come_again():
    assert key_of(3) == key_of(KEYS + 3) != key_of(4)


def test_an_installation_that_fails_is_a_reason_to_skip(tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    assert "ended with" in quix_is_missing(in_the_way / "environment")


def test_what_is_installed_whole_is_not_installed_again(tmp_path):
    (tmp_path / "whole").touch()
    assert quix_is_missing(tmp_path) is None
    assert [file.name for file in tmp_path.iterdir()] == ["whole"]
