"""Runs side by side: grouping, figures, classes, published numbers, and what reaches the terminal."""

from __future__ import annotations

import io
import json
from statistics import fmean, stdev

import pytest
from rich.console import Console

from cprspec.runs.columns import Column, markdown
from cprspec.runs.compare import compare
from cprspec.runs.compare_tables import DIFFERENCES_SHOWN, print_comparison, tables
from cprspec.runs.files import atomic_write_json
from cprspec.runs.groups import letter
from cprspec.runs.summary import summarise


def shown(comparison, width=80, **kwargs):
    stream = io.StringIO()
    print_comparison(comparison, Console(file=stream, width=width, highlight=False, **kwargs))
    return stream.getvalue()


def row_of(rows, **wanted):
    found = [row for row in rows if all(getattr(row, k) == v for k, v in wanted.items())]
    assert len(found) == 1, found
    return found[0]


def test_two_experiments_over_seeds(make_run):
    cpr = [summarise(make_run("cpr", seed, quality=0.6, recall=0.5 + seed / 10)) for seed in range(3)]
    coclr = [summarise(make_run("coclr", seed, lr=0.2, quality=0.3)) for seed in range(2)]
    result = compare([cpr[0], coclr[1], cpr[2], coclr[0], cpr[1]])
    assert [(g.letter, g.experiment, g.seeds) for g in result.groups] == [
        ("A", "cpr", (0, 1, 2)),
        ("B", "coclr", (0, 1)),
    ]
    retrieval = row_of(result.results, group="A", encoder="cycle")
    assert retrieval.figures["R@1"].mean == pytest.approx(0.6)
    assert retrieval.figures["R@1"].std == pytest.approx(0.1)
    assert retrieval.figures["R@1"].n == 3
    tables = [run.phases[1].table for run in cpr]
    mined = row_of(result.mining, group="A", phase="cycle", unit="source")
    medians = [table["cmr"]["source"]["median"] for table in tables]
    assert mined.figures["median_cmr"].mean == pytest.approx(fmean(medians))
    assert mined.figures["median_cmr"].std == pytest.approx(stdev(medians))
    assert mined.figures["precision"].mean == pytest.approx(fmean(t["precision"] for t in tables))
    assert mined.classes == 4
    text = shown(result)
    assert "cpr" in text
    assert "±" in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_same_seed_again_is_a_group_of_its_own_and_machine_facts_are_no_difference(make_run):
    runs = [summarise(make_run("x", 0)), summarise(make_run("x", 0)), summarise(make_run("x", 1))]
    groups = compare(runs).groups
    assert [g.seeds for g in groups] == [(0, 1), (0,)]


def test_other_options_make_another_group(make_run):
    runs = [summarise(make_run("x", 0, lr=0.1)), summarise(make_run("x", 1, lr=0.2))]
    assert len(compare(runs).groups) == 2


def test_classes_won_tied_lost_from_their_tables(make_run):
    a, b = summarise(make_run("a", 0, quality=0.9)), summarise(make_run("b", 0, lr=0.2, quality=0.1))
    result = compare([a, b])
    row = row_of(result.classes, encoder="cycle", unit="source")
    mine, theirs = ({r["name"]: r["cmr_source"] for r in run.phases[1].table["classes"]} for run in (a, b))
    assert row.won == sum(mine[c] > theirs[c] for c in mine)
    assert row.tied == sum(mine[c] == theirs[c] for c in mine)
    assert row.lost == sum(mine[c] < theirs[c] for c in mine)
    assert row.won > 0
    gaps = [abs(x - y) for _, x, y in row.differ_most]
    assert gaps == sorted(gaps, reverse=True)
    same = compare([a, a])
    assert row_of(same.classes, encoder="cycle", unit="video").tied == 4
    assert not row_of(same.classes, encoder="cycle", unit="video").differ_most


def test_no_mining_and_mining_of_nothing_show_a_dash(make_run):
    none = summarise(make_run("none", mined=False))
    zero = summarise(make_run("zero", lr=0.2, picks=0))
    some = summarise(make_run("some", lr=0.3))
    result = compare([some, none, zero])
    for group in "BC":
        assert set(row_of(result.mining, group=group, unit="source").figures.values()) == {None}
    assert not result.classes
    assert "-" in shown(result)
    assert not compare([none]).mining


def test_published_numbers_stand_beside_the_last_phase(make_run):
    run = summarise(make_run("x", quality=0.8, recall=0.25))
    result = compare([run])
    cmr, recall = result.published
    assert cmr.value == 0.833
    assert cmr.found["A"][0] == "cycle"
    assert cmr.found["A"][1].mean == run.phases[1].table["cmr"]["source"]["median"]
    assert recall.found["A"][1].mean == 0.25
    assert "83.3" in shown(result)
    assert "supplement" in shown(result)


def test_a_published_number_may_name_its_protocol(make_run):
    run = make_run("x")
    records = [
        {"metric": "R@1", "value": value, "split": "test", "encoder": "cycle", "dataset": "d", "protocol": protocol}
        for value, protocol in ((0.2, "default"), (0.4, "coclr"))
    ]
    atomic_write_json(run.evaluation("nn"), {"schema": 1, "kind": "evaluation", "records": records})
    resolved = run.resolved.read_text().replace('encoder = "cycle"', 'encoder = "cycle"\nprotocol = "PROTOCOL"')
    for protocol, value in (("default", 0.2), ("coclr", 0.4)):
        run.resolved.write_text(resolved.replace("PROTOCOL", protocol))
        assert compare([summarise(run)]).published[1].found["A"][1].mean == value
    run.resolved.write_text(resolved.replace("PROTOCOL", "another"))
    assert compare([summarise(run)]).published[1].found["A"] is None


def test_numbered_splits_are_averaged_within_a_run(make_run):
    run = make_run("x")
    records = [
        {"metric": "R@1", "value": value, "split": split, "encoder": "e", "dataset": "d", "protocol": "p"}
        for split, value in (("1", 0.2), ("2", 0.4), ("test", 0.9))
    ]
    atomic_write_json(run.evaluation("nn"), {"schema": 1, "kind": "evaluation", "records": records})
    figures = [row.figures["R@1"] for row in compare([summarise(run)]).results]
    assert sorted((f.mean, f.n) for f in figures) == [(pytest.approx(0.3), 1), (0.9, 1)]


def test_narrow_terminals_keep_the_main_figures(make_run):
    runs = [summarise(make_run("cpr", seed, recall=0.3 + seed / 10)) for seed in range(2)]
    runs.append(summarise(make_run("a" * 99, 0, lr=3, encoder="an-encoder-with-a-very-long-name-indeed")))
    for width in (50, 60, 80, 200):
        text = shown(compare(runs), width)
        assert max(map(len, text.splitlines())) <= width
        assert "R@1" in text
        assert "mAP" in text
        assert "median" in text
    assert "R@50" in shown(compare(runs), 200)


def test_hostile_text_is_shown_and_never_obeyed(make_run):
    evil = "[red]x[/] [/] [@click=app.quit]y[/] \x1b[2J\x9b31m\x00\u202e\n"
    run = make_run("x", classes=(evil, "b", "c", "d"), encoder=evil, quality=0.9, state=evil, where="[bold]\\u001b]0;t")
    other = make_run("y", lr=0.4, classes=(evil, "b", "c", "d"), encoder=evil, quality=0.0)
    data = json.loads(run.evaluation("nn").read_text())
    for record in data["records"]:
        record["dataset"], record["metric"] = evil, record["metric"] + evil
    atomic_write_json(run.evaluation("nn"), data)
    result = compare([summarise(run), summarise(other)])
    for width in (40, 80, 200):
        text = shown(result, width)
        assert not [c for c in text if (ord(c) < 32 and c != "\n") or 0x7F <= ord(c) <= 0x9F or c == "\u202e"]
    assert "[red]" in text
    assert "\\x1b[2J" in text


def test_no_colour_without_a_terminal_or_with_no_color(make_run, monkeypatch):
    result = compare([summarise(make_run("x"))])
    assert "\x1b" not in shown(result)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in shown(result, force_terminal=True).replace("\x1b[3m", "")


def test_json_says_what_the_tables_say(make_run):
    a, b = summarise(make_run("a", quality=0.9)), summarise(make_run("b", lr=0.2, quality=0.1))
    data = json.loads(json.dumps(compare([a, b]).to_json(), allow_nan=False))
    assert (data["schema"], data["kind"]) == (1, "comparison")
    assert data["groups"][1]["experiment"] == "b"
    assert data["mining"][0]["figures"]["precision"]["mean"] == a.phases[1].table["precision"]
    first = data["classes"][0]
    assert {"class", "A", "B"} == set(first["differ_most"][0])
    assert 0 <= first["test"]["p"] <= 1
    assert first["difference"]["low"] <= first["difference"]["median"] <= first["difference"]["high"]
    assert data["published"][0]["found"]["A"]["encoder"] == "cycle"


def test_many_groups_stay_within_the_terminal(make_run):
    runs = [
        summarise(make_run(f"experiment-{i}", seed, lr=i, recall=0.1 + i / 20)) for i in range(7) for seed in (0, 1)
    ]
    for width in (80, 200):
        text = shown(compare(runs), width)
        assert max(map(len, text.splitlines())) <= width
        assert "A against G" in text
        assert "tied" in text
    assert "interval" in text


def test_what_differs_is_listed_and_cut_short(make_run):
    options = "".join(f"option{i} = {{}}\n" for i in range(DIFFERENCES_SHOWN + 5))
    a = summarise(make_run("a", extra="[miner]\n" + options.replace("{}", "1")))
    b = summarise(make_run("b", extra="[miner]\n" + options.replace("{}", "'[red]x\u202e'")))
    text = shown(compare([a, b]))
    assert "miner.option0" in text
    assert "[red]x\\u202e" in text
    assert text.count("miner.option") == DIFFERENCES_SHOWN
    assert "and 5 more keys" in text


def test_markdown_holds_every_column_and_no_text_is_markup(make_run):
    evil = "a|b <b> [x](http://y) *z* `q` $m$ &lt; @you\n# no"
    run, other = summarise(make_run("x", encoder=evil, quality=0.9)), summarise(make_run("y", lr=9, encoder=evil))
    text = markdown(tables(compare([run, other])))
    assert all(line.startswith(("|", "**")) or not line for line in text.splitlines())
    assert "random mean" in text
    assert "R@50" in text
    assert r"a\|b \<b\> \[x\](http\://y) \*z\* \`q\` \$m\$" in text
    columns = {line.replace(r"\|", "").count("|") for line in text.splitlines() if "| unit |" in line}
    assert columns == {11, 10}
    assert (
        markdown([("t", [Column("x", ("1",)), Column("", ("A",))])]) == "**t**\n\n| x |  |\n| --: | :-- |\n| 1 | A |\n"
    )


def test_letters():
    assert [letter(i) for i in (0, 25, 26, 51, 52, 701, 702)] == ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]
