import io
import sys

from jftdata.progress import progress, set_quiet


def test_progress_goes_to_stderr_and_names_step_and_count(capsys):
    set_quiet(False)
    with progress("embed", total=4, unit="image") as bar:
        for _ in range(4):
            bar.update(1)
    out, err = capsys.readouterr()
    assert out == ""
    assert "embed" in err
    assert "4/4" in err
    assert "image" in err


def test_quiet_prints_nothing(capsys):
    set_quiet(True)
    with progress("embed", total=4, unit="image") as bar:
        bar.update(4)
    assert capsys.readouterr() == ("", "")


def test_a_log_file_gets_lines_not_a_redrawn_bar(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    set_quiet(False)
    with progress("catalog", total=1000, unit="image") as bar:
        for _ in range(1000):
            bar.update(1)
    assert log.getvalue().count("catalog") <= 3  # at most every ten seconds, and the start and the end
    assert log.getvalue().isascii()
