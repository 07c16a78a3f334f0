"""What is asked of a benchmark, and whether its figures meet it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from measuring import Field, Result, interval, ratios
from page import table

Row = list[str]


@dataclass(frozen=True)
class Goal:
    """`what` has to be at least `least` or at most `most`; `form` is how figures are written."""

    what: str
    least: float | None = None
    most: float | None = None
    form: str = ".2f"

    def judge(self, figure: float | None, shown: str = "") -> Row:
        """A row of `goals_table`; `shown` stands in place of the figure, which is None where nothing was measured."""
        bounds = [(">=", self.least), ("<=", self.most)]
        goal = ", ".join(f"{sign} {bound:{self.form}}" for sign, bound in bounds if bound is not None)
        if figure is None:
            return [self.what, "not run", goal, ""]
        is_met = (self.least is None or figure >= self.least) and (self.most is None or figure <= self.most)
        return [self.what, shown or f"{figure:{self.form}}", goal, "yes" if is_met else "no"]


@dataclass(frozen=True)
class RatioGoal:
    """Rate or CPU of a variant against another: the median of the ratios of pairs in one round decides."""

    of: Field
    variant: str
    reference: str
    least: float | None = None
    most: float | None = None

    def judge(self, results: Mapping[str, Sequence[Result]]) -> Row:
        """As Goal's, with the interval of the ratio."""
        name = {"rate": "rate", "cpu": "CPU"}[self.of]
        goal = Goal(f"{name} of {self.variant} against {self.reference}", self.least, self.most)
        if not {self.variant, self.reference} <= results.keys():
            return goal.judge(None)
        found = ratios(results, self.variant, self.reference, self.of)
        return goal.judge(median(found), interval(found))


def goals_table(rows: Iterable[Row]) -> str:
    return table(["figure", "measured", "goal", "met"], rows)


def judged(lines: str, rows: Iterable[Row]) -> str:
    """A table of figures, and below it that of goals."""
    return f"{lines}\n\n{goals_table(rows)}"
