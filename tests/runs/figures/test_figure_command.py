"""`cprspec figure` as a user types it."""

from __future__ import annotations

import sys

import pytest

from cprspec.cli import main


@pytest.fixture
def figure(tmp_path, monkeypatch, capsys):
    """`cprspec figure` above the runs that `make_run` makes: code, stdout, stderr."""

    def call(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["cprspec", "figure", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code, *capsys.readouterr()

    return call


def test_a_file_is_written_and_named(make_run, tmp_path, figure):
    make_run("cpr", quality=0.8)
    make_run("coclr", lr=0.2)
    assert figure("cmr", "cpr", "coclr", "-o", "out/cmr.svg", "--unit", "video") == (0, "out/cmr.svg\n", "")
    assert "CMR over videos (%)" in (tmp_path / "out/cmr.svg").read_text()
    assert figure("curves", "cpr", "-o", "c.pdf", "--metric", "loss", "--columns", "1")[0] == 0
    assert (tmp_path / "c.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["crm", "x", "-o", "a.pdf"], "no figure is called 'crm'; did you mean 'cmr'?"),
        (["cmr", "nothing", "-o", "a.pdf"], "no run 'nothing' in runs"),
        (["cmr", "x", "-o", "a.jpg"], "a figure cannot be written as 'a.jpg'; end the name with .pdf, .svg, .png"),
        (["cmr", "x", "-o", "a.pdf", "--metric", "loss"], "figure cmr has no --metric; it takes --phase, --unit"),
        (["stages", "x", "-o", "a.pdf"], "nothing varies between these settings"),
        (["confusion", "x", "-o", "a.pdf"], "x has no confusion matrix"),
        (["embedding", "x", "-o", "a.pdf"], "phase 'cycle' has no recording of its mining"),
        (["embedding", "a.safetensors", "b.safetensors", "-o", "a.pdf"], "a figure is of one file, or of runs"),
        (["stages", "gone.json", "-o", "a.pdf"], "gone.json: no settings"),
    ],
)
def test_wrong_input_is_one_line_and_no_file(make_run, tmp_path, figure, arguments, message):
    make_run("x")
    code, text, said = figure(*arguments)
    assert (code, text) == (2, "")
    assert said.startswith(message)
    assert said.count("\n") == 1
    assert not (tmp_path / "a.pdf").exists()
