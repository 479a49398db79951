"""Progress is shown one level at a time."""

from skcyto.utils._progress import progress_bar


def test_bars_inside_a_bar_are_not_shown(capsys):
    for _ in progress_bar(range(2), desc="outer", verbose=1):
        for _ in progress_bar(range(3), desc="inner", verbose=1):
            pass
    error = capsys.readouterr().err
    assert "outer" in error
    assert "inner" not in error


def test_a_bar_after_a_bar_is_shown(capsys):
    with progress_bar(total=1, desc="first", verbose=1) as bar:
        bar.update()
    for _ in progress_bar(range(1), desc="second", verbose=1):
        pass
    assert "second" in capsys.readouterr().err


def test_silent_bars_hide_no_other(capsys):
    for _ in progress_bar(range(2), desc="outer"):
        for _ in progress_bar(range(3), desc="inner", verbose=1):
            pass
    assert "inner" in capsys.readouterr().err
