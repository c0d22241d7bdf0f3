"""Every file in experiments/ resolves, says what it follows, aims at numbers that its runs measure, and is in the catalogue."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from cprspec.runs.compare import compare
from cprspec.runs.layout import RunDir
from cprspec.runs.records import mining_records
from cprspec.runs.summary import summarise
from cprspec.spec.encoders import default_encoders
from cprspec.spec.registry import Registry
from cprspec.spec.resolve import resolve_all
from cprspec.spec.schema import Resolved
from cprspec.spec.splits import official_split
from cprspec.spec.toml import to_toml

PROJECT = Path(__file__).parents[2]
FILES = sorted((PROJECT / "experiments").glob("*.toml"))
EXPERIMENTS = [file for file in FILES if not file.name.startswith("_")]
OF_THE_PAPERS = [file for file in EXPERIMENTS if file.name.startswith(("ucf101_", "kinetics_"))]
CATALOGUE = PROJECT / "docs/experiments-catalogue.md"


@pytest.fixture(scope="module")
def every(registry: Registry) -> dict[str, tuple[Resolved, ...]]:
    """The runs of each experiment file, by the file's name."""
    return {file.name: resolve_all(file, registry) for file in EXPERIMENTS}


def first_comment(file: Path) -> str:
    lines = file.read_text().splitlines()
    return " ".join(x.removeprefix("#").strip() for x in lines[: [x.startswith("#") for x in lines].index(False)])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_first_comment_says_what_it_is(file: Path) -> None:
    assert len(first_comment(file)) > 40


@pytest.mark.parametrize("file", OF_THE_PAPERS, ids=lambda file: file.stem)
def test_of_the_papers_it_says_what_it_follows_and_why_no_number_if_there_is_none(file: Path, every: Any) -> None:
    comment = first_comment(file)
    assert "public code" in comment
    assert "supplement" in comment or not file.stem.endswith("_supplement")
    for run in every[file.name]:
        assert run.published or re.search(r"none (is )?published|no number is published|a number", comment), comment


def test_names_follow_files_and_are_unique(every: dict[str, tuple[Resolved, ...]]) -> None:
    names = [run.name for runs in every.values() for run in runs]
    assert len(set(names)) == len(names)
    for file, runs in every.items():
        if not file.startswith(("folder", "quickstart.", "ucf101_ablation_")):
            assert all(run.name.startswith(Path(file).stem.replace("_", "-")) for run in runs), file


def measured(run: Resolved) -> list[dict[str, Any]]:
    """What the evaluations of `run` write: a record of each metric, encoder, data set and protocol, without its value."""
    records = []
    for evaluator in run.evaluate.values():
        if evaluator.name == "embeddings":
            continue
        retrieval = evaluator.name == "retrieval"
        protocol = f"retrieval-{evaluator.protocol}" if retrieval else evaluator.method  # type: ignore[attr-defined]
        metrics = [f"R@{k}" for k in evaluator.k] if retrieval else ["top1", "top5"]  # type: ignore[attr-defined]
        for metric, encoder, dataset in product(
            metrics, evaluator.encoders or default_encoders(run), evaluator.datasets or (run.train_on,)
        ):
            name, split = official_split(dataset, run.datasets)
            where = {"dataset": name, "split": split, "encoder": encoder, "protocol": protocol, "unit": "video"}
            records.append({"metric": metric, **where, "seed": run.seed})
    return records


def table(value: float) -> dict[str, Any]:
    """A mining table as JSON with `value` as CMR and precision."""
    figures = {"median": value, "mean": value, "perfect": 8, "defined": 101}
    return {"kind": "mining", "dataset": "ucf101", "picks": 10, "precision": value, "cmr": {"source": figures}}


def made_run(run: Resolved, runs: Path) -> tuple[RunDir, dict[tuple[str | None, ...], float]]:
    """The directory of a finished `run` with a value of its own for each thing measured, and these values."""
    folder = RunDir.create(runs, run.name)
    folder.resolved.write_text(to_toml(run))
    records = measured(run)
    for number, record in enumerate(records):
        record["value"] = (number + 1) / (len(records) + 2)
    values = {(r["metric"], r["encoder"], r["dataset"], r["protocol"]): r["value"] for r in records}
    folder.evaluations.mkdir()
    folder.evaluation("all").write_text(json.dumps({"kind": "evaluation", "records": records}))
    for number, phase in enumerate(p for p in run.phases if p.miner):
        mining = table((number + 1) / 100)
        folder.mining(phase.name).mkdir(parents=True)
        folder.mining_table(phase.name, 0).write_text(json.dumps(mining))
        for r in mining_records(mining, phase.name, run.seed):
            values[r.metric, phase.name, r.dataset, r.protocol] = r.value or 0.0
    return folder, values


def test_compare_shows_a_run_s_own_number_beside_each_published_one(every: Any, tmp_path: Path) -> None:
    for file in OF_THE_PAPERS:
        run = every[file.name][0]
        folder, values = made_run(run, tmp_path)
        rows = compare([summarise(folder)]).published
        assert len(rows) == len(run.published), file.name
        for row, number in zip(rows, run.published, strict=True):
            wanted = {
                v for (metric, encoder, dataset, protocol), v in values.items()
                if (metric, encoder) == (number.metric, number.encoder)
                and number.dataset in (None, dataset) and number.protocol in (None, protocol)
            }  # fmt: skip
            assert len(wanted) == 1, (file.name, number, "is not one of the things that are measured")
            found = row.found["A"]
            assert found is not None
            assert found[0] == number.encoder
            assert found[1].mean == pytest.approx(wanted.pop()), (file.name, number)


def test_the_catalogue_lists_every_file_and_only_numbers_it_aims_at(every: Any) -> None:
    rows = re.findall(r"^\| `([a-z0-9_]+)` \|([^|]*)\|([^|]*)\|$", CATALOGUE.read_text(), re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == sorted(file.stem for file in EXPERIMENTS)
    for name, aim, _ in rows:
        published = every[f"{name}.toml"][0].published
        known = {round(n.value if n.value > 1 else n.value * 100, 2) for n in published}
        said = {float(text) for text in re.findall(r"\b\d+\.\d+\b", aim)}
        assert said <= known, (name, said - known)
        assert bool(said) == bool(published), name


def test_check_passes_them_all_without_any_video(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cprspec", "check", *map(str, FILES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=PROJECT)
    assert done.returncode == 0, done.stderr
    lines = {line.split(":")[0]: line for line in done.stdout.splitlines() if not line.startswith(" ")}
    assert set(lines) == set(map(str, FILES))
    assert "--root kinetics=DIR" in lines[str(PROJECT / "experiments/kinetics_cpr.toml")]
