"""How far a batch job is stands on a terminal, and nowhere else."""

import io

from rich.console import Console

from stream_router.views.scoring_progress import scoring_progress


def drawn(*, terminal, shown=True):
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=120)
    with scoring_progress(shown=shown, console=console) as tell:
        tell(0, None)
        tell(0, 1_000)
        tell(1_500, 250)
    return file.getvalue()


def test_a_terminal_shows_share_and_predictions():
    text = drawn(terminal=True)
    assert "75%" in text
    assert "1,500 predictions" in text


def test_nothing_is_written_elsewhere_or_where_no_end_is_known():
    assert drawn(terminal=False) == drawn(terminal=True, shown=False) == ""
