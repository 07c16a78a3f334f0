"""Sums over windows, so that nobody has to walk through all of them: a chapter is 256 neighbours that are added up."""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from stream_router.core.evidence import Count, Tally

Series = tuple[int, str, str]
"""Rollout, lane and model version."""

_CHAPTER: Final = 256


class Sums(NamedTuple):
    """Counts of several windows together."""

    predicted: int = 0
    errors: int = 0
    late: int = 0
    labelled: int = 0
    correct: int = 0


def sums_of(counts: Count | Tally) -> Sums:
    """Those of one window."""
    return Sums(counts.predicted, counts.errors, counts.late, counts.labelled, counts.correct)


def together(parts: Iterable[Sums]) -> Sums:
    return Sums(*map(sum, zip(Sums(), *parts, strict=True)))


class WindowSums:
    """By series and chapter; `window` is that of the policy, in milliseconds."""

    def __init__(self, window: int) -> None:
        self._span = _CHAPTER * window
        self._chapters: dict[Series, dict[int, Sums]] = {}
        self._totals: dict[Series, Sums] = {}

    def add(self, series: Series, window: int, counts: Count | Tally, sign: int = 1) -> None:
        """What changed in the window that starts then, or with the sign -1 what is forgotten."""
        chapters, chapter = self._chapters.setdefault(series, {}), window // self._span
        change = Sums(*(sign * count for count in sums_of(counts)))
        chapters[chapter] = together((chapters.get(chapter, Sums()), change))
        self._totals[series] = together((self._totals.get(series, Sums()), change))
        if not any(chapters[chapter]):
            del chapters[chapter]
        if not chapters:
            del self._chapters[series], self._totals[series]

    def until(self, series: Series, window: int) -> tuple[Sums, int]:
        """Of the chapters before that of the window, and where that one starts."""
        last = window // self._span
        before = (sums for chapter, sums in self._chapters.get(series, {}).items() if chapter < last)
        return together(before), last * self._span

    def total(self, series: Series) -> Sums:
        return self._totals.get(series, Sums())

    def labelled(self, series: Series) -> Iterator[tuple[int, int]]:
        """First and behind the last start of each chapter that has labels, newest first."""
        chapters = self._chapters.get(series, {})
        for chapter in sorted(chapters, reverse=True):
            if chapters[chapter].labelled:
                yield chapter * self._span, (chapter + 1) * self._span
