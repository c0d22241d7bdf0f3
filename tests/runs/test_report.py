"""The report page: what it says, that nothing in it comes from elsewhere, and that no text of a file is more than text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise

import cv2
import numpy as np
import pytest

from cprspec.cli import main
from cprspec.runs.report import content
from cprspec.runs.report.content import page
from cprspec.runs.report.mined import Pictures, ranks

HOSTILE = '<script>alert("x")</script>\x1b[31m\u202e&amp;"\'><img src=http://x.example/y>'
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """What a test looks for in a page: elements with their attributes, texts by element, and whether tags match."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.texts = [], [], {}
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.setdefault(self.open[-1] if self.open else "", []).append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture
def pictured(make_run):
    """A function that makes a run whose last mining table has strips and ranks at two stages."""

    def make(name="cpr", **kwargs):
        run = make_run(name, **kwargs)
        path = run.mining_table("cycle", 1)
        table = json.loads(path.read_text())
        picture = cv2.imencode(".jpg", np.zeros((64, 256, 3), np.uint8))[1].tobytes()
        run.strip("cycle", "x").parent.mkdir()
        for i, example in enumerate(table["examples"]):
            for shown in (example, *example["mined"]):
                shown["strip"] = f"{shown['video']:06d}.jpg"
                run.strip("cycle", shown["strip"]).write_bytes(picture)
            for rank, mined in enumerate(example["mined"]):
                mined["stages"] = [5 + i, rank]
        path.write_text(json.dumps(table))
        return run

    return make


@pytest.fixture
def undrawn(monkeypatch):
    """Pages without figures, which take a second to draw."""
    monkeypatch.setattr(content, "drawings", lambda runs: ((), ()))


def test_everything_of_a_page_is_in_it(pictured):
    text, problems = page([pictured("cpr"), pictured("coclr", lr=0.5)])
    assert problems == ()
    found = Page(text)
    addresses = [v for _, attrs in found.elements for k, v in attrs.items() if k in {"src", "href", "action", "srcset"}]
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    (policy,) = [m["content"] for m in found.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        (inner,) = found.texts[tag]
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    drawings = [img["src"] for img in found.all("img") if "drawing" in img.get("class", "")]
    kinds = [base64.b64decode(src.partition(",")[2])[:500].count(b"<svg") for src in drawings]
    assert kinds == [1, 1, 1]
    assert not any("style" in attrs or any(k.startswith("on") for k in attrs) for _, attrs in found.elements)


@pytest.mark.usefixtures("undrawn")
def test_a_page_is_made_for_everyone(pictured):
    found = Page(page([pictured("cpr")])[0])
    assert found.all("html") == [{"lang": "en"}]
    assert all(picture["alt"] for picture in found.all("img"))
    ids = [attrs["id"] for _, attrs in found.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in found.all("a") if a["href"].startswith("#")} <= set(ids)
    assert {attrs["aria-labelledby"] for _, attrs in found.elements if "aria-labelledby" in attrs} <= set(ids)
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    assert len(found.all("caption")) == len(found.all("table"))
    assert all("scope" in th for th in found.all("th"))


@pytest.mark.usefixtures("undrawn")
def test_what_a_page_says(pictured):
    text, _ = page([pictured("cpr"), pictured("coclr", lr=0.5, quality=0.2)])
    found = Page(text)
    assert found.texts["h1"] == ["cpr and coclr"]
    assert {"What was run", "Results", "Classes", "What was mined", "Run it again"} <= set(found.texts["h2"])
    assert {"A: cpr, phase cycle", "B: coclr, phase cycle"} <= set(found.texts["h3"])
    assert "Phase cycle: CMR over sources (%)" in found.texts["caption"]
    assert "lr" in "".join(found.texts["td"])
    verdicts = [li["class"] for li in found.all("li") if "class" in li]
    assert set(verdicts) == {"right", "wrong"}
    said = " ".join(found.texts["span"])
    assert verdicts.count("right") == said.count("✓ right")
    assert "rank by stage 6 → 1; let in by stage 2, among the best" in said
    assert "cprspec run cpr-seed0.toml" in "".join(found.texts["code"])
    (address, *_) = [a["href"] for a in found.all("a") if a.get("download") == "cpr-seed0.toml"]
    assert b'name = "cpr"' in base64.b64decode(address.partition(",")[2])


@pytest.mark.usefixtures("undrawn")
def test_no_text_of_a_file_is_more_than_text(pictured):
    run = pictured(classes=(HOSTILE, "b", "c", "d"), where=HOSTILE.replace("\x1b", "").replace('"', "'"))
    path = run.mining_table("cycle", 1)
    table = json.loads(path.read_text())
    table["examples"][0]["name"] = HOSTILE
    table["examples"][0]["mined"][0]["name"] = HOSTILE
    path.write_text(json.dumps(table))
    run.environment.write_text(json.dumps({"kind": "environment", "versions": {HOSTILE: HOSTILE}, "platform": HOSTILE}))
    text, _ = page([run])
    found = Page(text)
    assert len(found.all("script")) == 1
    assert all(img["src"].startswith("data:") for img in found.all("img"))
    assert "\x1b" not in text
    assert "\u202e" not in text
    shown = " ".join(found.texts["summary"] + found.texts["h4"] + found.texts["td"] + found.texts["th"])
    assert shown.count("<script>alert(") >= 4


@pytest.mark.usefixtures("undrawn")
def test_strips_that_are_none_are_left_out(pictured, tmp_path):
    run = pictured()
    (tmp_path / "secret.jpg").write_bytes(b"\xff\xd8\xffsecret")
    run.strip("cycle", "gif.jpg").write_bytes(b"GIF89a")
    for strange in ("../../../../../../../secret.jpg", str(tmp_path / "secret.jpg"), "no.jpg", 7, None, "gif.jpg"):
        assert Pictures().of(run, "cycle", strange) is None
    path = run.mining_table("cycle", 1)
    table = json.loads(path.read_text())
    path.write_text(json.dumps({**table, "examples": [{"mined": [7, {"stages": "x"}], "strip": 7}, "y"], "classes": 3}))
    assert "a video without a name" in page([run])[0]


@pytest.mark.usefixtures("undrawn")
def test_a_page_stays_small(pictured, monkeypatch):
    run = pictured()
    whole = page([run])[0].count("data:image/jpeg")
    size = next(run.strip("cycle", "x").parent.iterdir()).stat().st_size
    monkeypatch.setattr(content, "Pictures", lambda: Pictures(left=3 * size + 1))
    text, _ = page([run])
    assert text.count("data:image/jpeg") == 3 < whole
    assert f"{whole - 3} pictures are left out" in text


def test_without_matplotlib_a_page_says_so(make_run, monkeypatch):
    for module in ("cmr", "curves", "funnel", "style"):
        monkeypatch.delitem(sys.modules, f"cprspec.runs.figures.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    text, _ = page([make_run()])
    assert 'class="drawing' not in text
    assert any("pip install" in p and "cprspec[figures]" in p for p in Page(text).texts["p"])


@pytest.mark.usefixtures("undrawn")
def test_a_page_of_little(make_run):
    run = make_run(mined=False, state="failed", why="no <memory>")
    for file in (run.resolved, run.evaluation("nn"), run.events):
        file.unlink()
    text, _ = page([run])
    found = Page(text)
    assert "What was mined" not in found.texts["h2"]
    assert "There are none yet." in found.texts["p"]
    assert any("is not finished but failed: no <memory>." in p for p in found.texts["p"])
    run.environment.write_text("{")
    assert any("environment.json" in li for li in Page(page([run])[0]).texts["li"])


@pytest.mark.parametrize(
    ("stages", "of", "words"),
    [
        ([3], 5, "rank 4"),
        ([9, 2, 7, 1, 0], 3, "rank by stage 10 → 3 → 8 → 2 → 1; let in by stage 4, among the best 3 from there on"),
        ([0, 0], 1, "rank by stage 1 → 1; let in by stage 1, among the best 1 from there on"),
        ([None, 0], 1, "rank by stage out → 1; let in by stage 2, among the best 1 from there on"),
        ([], 5, None), (None, 5, None), ([-1, 2], 5, None), (["1"], 5, None), ([True], 5, None), ([None], 5, None),
    ],
)  # fmt: skip
def test_the_stage_that_let_a_pick_in(stages, of, words):
    assert ranks(stages, of) == words


@pytest.mark.usefixtures("undrawn")
def test_the_command(pictured, tmp_path, monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["cprspec", "report", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code, *capsys.readouterr()

    pictured()
    assert call("cpr") == (0, "report.html\n", "")
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert call("cpr", "-o", "x.pdf") == (2, "", "x.pdf: a report is an HTML page; end its name with .html\n")
    code, _, talk = call("nothing")
    assert (code, "no run 'nothing'" in talk) == (2, True)


def test_a_report_needs_no_torch():
    code = "import sys, cprspec.cli_report, cprspec.runs.report.content; print({'torch', 'torchvision'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "set()\n"
