"""An exported encoder gives the run's features to the bit, in any process, without the run."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from made_run import write_video
from safetensors.torch import load_file
from typer.testing import CliRunner

import cprspec
from cprspec.cli import app
from cprspec.errors import CprspecError
from cprspec.evaluation.features import FrozenEncoder, encode_videos
from cprspec.learning.ranks import Ranks
from cprspec.models.encoders import build_encoder, fill
from cprspec.models.frozen import freeze
from cprspec.spec.registry import builtin_registry
from cprspec.spec.schema import Launch
from cprspec.video.clips import TestClips as Clips
from cprspec.video.normalise import Normalise
from cprspec.video.store import Store
from cprspec.weights import unpickle
from cprspec.weights.embeddings import read_embeddings
from cprspec.weights.export import export_run
from cprspec.weights.importing import map_weights
from cprspec.weights.reading import Opened, recognise


@pytest.fixture(scope="module")
def exports(made, tmp_path_factory):
    """An RGB phase that was mined for, and the flow phase."""
    folder = tmp_path_factory.mktemp("exports")
    return {name: export_run(made.run, name, folder / name, builtin_registry()) for name in ("cycle", "flow")}


def features_of_the_run(made, phase_name: str) -> torch.Tensor:
    """As evaluation makes them, from the run's own weights."""
    phase = made.resolved.phase(phase_name)
    network = build_encoder(phase)
    fill(network, made.weights[phase_name], "test", None)
    view = made.resolved.views[phase.views[0]]
    index = made.resolved.datasets["clips"].build(made.videos)
    ids = np.arange(len(index.videos))
    clips = Clips(index, ids, {"v": view}, phase.clip, Store())
    encoder = FrozenEncoder(freeze(network), "v", Normalise(view))
    return encode_videos({"e": encoder}, clips, Launch(workers=0), Ranks(device=torch.device("cpu")))[1]["e"]


@pytest.mark.parametrize("name", ["cycle", "flow"])
def test_round_trip_to_the_bit(made, exports, name):
    export = exports[name]
    state = torch.random.get_rng_state()
    steps = []
    embeddings = cprspec.load_encoder(export.folder, device="cpu").embed(
        made.videos, progress=lambda done, total: steps.append((done, total))
    )
    assert torch.equal(torch.random.get_rng_state(), state)  # a notebook's random numbers are its own
    expected = features_of_the_run(made, name)
    assert expected.std() > 0
    assert torch.equal(embeddings.features_VF, expected)
    assert [str(p.relative_to(made.videos)) for p in embeddings.paths] == ["a/1.mp4", "a/2.mp4", "b/1.mp4", "b/2.mp4"]
    assert embeddings.labels == ("a", "a", "b", "b")
    assert steps[-1] == (8, 8)
    (short,) = embeddings.warnings
    assert short.message == "1 of 4 videos are shorter than a clip of 8 frames"


def test_import_of_an_export_changes_nothing(made, exports):
    export = exports["cycle"]
    file = export.folder / "weights.safetensors"
    container = recognise(file, file.stat().st_size)
    imported = map_weights(Opened(file, container, "", unpickle.load(file, container), ()))
    assert (imported.layout.name, imported.container, imported.ignored) == ("cprspec", "safetensors", ())
    assert imported.tensors.keys() == made.weights["cycle"].keys()
    assert all(torch.equal(imported.tensors[k], v) for k, v in made.weights["cycle"].items())
    encoder = cprspec.load_encoder(export.folder, device="cpu")
    before = encoder.embed(made.videos).features_VF
    fill(encoder.network, imported.tensors, "imported", None)
    assert torch.equal(encoder.embed(made.videos).features_VF, before)
    low = encoder.embed(made.videos, precision="bf16").features_VF
    assert low.dtype == torch.float32
    assert 0 < (low - before).norm() < 0.05 * before.norm()
    with pytest.raises(CprspecError, match="float32"):
        encoder.embed(made.videos, precision="half")


@pytest.mark.parametrize("name", ["cycle", "flow"])
def test_the_card(made, exports, name):
    export = exports[name]
    card = tomllib.loads((export.folder / "model.toml").read_text())
    content = (export.folder / "weights.safetensors").read_bytes()
    assert card["weights"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert card["backbone"] == {"component": "s3d", "width": 0.0625, "gating": False}
    assert card["clip"] == {"frames": 8, "stride": 1, "size": 32, "short_side": 36}
    assert (card["head"], card["features"]["size"]) == ({"embedding": 12}, 64)
    identity = made.resolved.datasets["clips"].build(made.videos).digest()
    assert card["dataset"] == {"name": "clips", "component": "folder", "holdout": 0.0, "identity": identity}
    assert not export.warnings
    lineage = {"cycle": ["rgb", "flow", "cycle"], "flow": ["flow"]}[name]
    assert [phase["name"] for phase in card["recipe"]] == lineage
    for phase in card["recipe"]:
        facts = json.loads((made.run.phase(phase["name"]) / "phase.json").read_text())
        assert (phase["fingerprint"], phase["weights_sha256"]) == (facts["fingerprint"], facts["weights_sha256"])
    expected = {"cycle": ["cycle", "cycle+flow"], "flow": ["cycle+flow"]}[name]
    assert [result["encoder"] for result in card["results"]] == expected
    if name == "flow":
        assert card["view"] == {"component": "flow", "method": "dis", "bound": 6.0, "normalise": "imagenet"}
    text = (export.folder / "model.toml").read_text()
    assert str(made.videos) not in text  # no machine's path


def test_data_that_changed_has_no_identity(made, tmp_path):
    run = shutil.copytree(made.run.path, tmp_path / "runs" / "made" / "20260101-000000-abcd")
    moved = (run / "resolved.toml").read_text().replace(str(made.videos), str(tmp_path / "videos"))
    (run / "resolved.toml").write_text(moved)
    for case in ("gone", "other"):
        if case == "other":
            write_video(tmp_path / "videos" / "a" / "1.mp4", 9)
        export = export_run(type(made.run)(run), None, tmp_path / case, builtin_registry())
        assert export.table["phase"] == "aside"  # the last
        assert "identity" not in export.table["dataset"]
        assert export.warnings


def test_refused_exports(made, tmp_path):
    registry = builtin_registry()
    with pytest.raises(CprspecError, match="no phase 'cycel'; did you mean 'cycle'"):
        export_run(made.run, "cycel", tmp_path / "x", registry)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("kept")
    with pytest.raises(CprspecError, match="not an empty folder"):
        export_run(made.run, "rgb", tmp_path / "full", registry)
    run = shutil.copytree(made.run.path, tmp_path / "made" / "20260101-000000-abcd")
    (run / "phases" / "rgb" / "phase.json").unlink()
    with pytest.raises(CprspecError, match="phase 'rgb' is not finished"):
        export_run(type(made.run)(run), "cycle", tmp_path / "x", registry)
    weights = run / "phases" / "flow" / "checkpoints" / "step-000003" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(CprspecError, match="sha256 differs"):
        export_run(type(made.run)(run), "flow", tmp_path / "x", registry)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('component = "s3d"', 'component = "s4d"', "no backbone component is called 's4d'; did you mean 's3d'?"),
        ("width = 0.0625", "width = 0.125", "weights do not fit the encoder"),
        ("width = 0.0625", "width = 1e9", "must be at most 4"),
        ("width = 0.0625", "widht = 0.0625", "unknown option 'widht'"),
        ("frames = 8", 'frames = "8"', "must be a whole number"),
        ("embedding = 12", "embedding = true", "'head.embedding' must be a whole number"),
        ("embedding = 12", "embedding = 99999999", "an embedding of 99999999 numbers"),
        ("scale = 255.0", "scale = 1.0", "this version normalises pictures of such a view by mean"),
        ('kind = "model"', 'kind = "other"', "not a model card of schema 1"),
        ('sha256 = "', 'sha256 = "0', "sha256 differs from the model card's"),
    ],
)
def test_wrong_cards(exports, tmp_path, old, new, message):
    folder = shutil.copytree(exports["cycle"].folder, tmp_path / "model")
    text = (folder / "model.toml").read_text()
    assert old in text
    (folder / "model.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(CprspecError) as caught:
        cprspec.load_encoder(folder, device="cpu")
    assert message in str(caught.value)


def test_wrong_device(exports):
    with pytest.raises(CprspecError, match="cannot compute on 'gpu'; choose from 'auto', 'cpu', 'cuda'"):
        cprspec.load_encoder(exports["cycle"].folder, device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(CprspecError, match="no CUDA device is there"):
            cprspec.load_encoder(exports["cycle"].folder, device="cuda")


def test_files_folders_and_bad_videos(exports, made, tmp_path):
    encoder = cprspec.load_encoder(exports["cycle"].folder, device="cpu")
    write_video(tmp_path / "flat" / "x.mp4", 12)
    one = made.videos / "b" / "2.mp4"
    embeddings = encoder.embed([one, str(tmp_path / "flat"), one])
    assert embeddings.paths == (one, tmp_path / "flat" / "x.mp4")  # in the order given, each once
    assert embeddings.labels == (None, None)
    for name in ("bad1.mp4", "bad2.mp4"):
        (tmp_path / "flat" / name).write_text("no video")
    with pytest.raises(CprspecError) as caught:
        encoder.embed(tmp_path / "flat")
    assert [Path(p.place.file).name for p in caught.value.problems] == ["bad1.mp4", "bad2.mp4"]
    with pytest.raises(CprspecError, match="no such file or folder"):
        encoder.embed("missing.mp4")
    with pytest.raises(CprspecError, match="no videos are named"):
        encoder.embed([])


def test_commands(made, tmp_path, monkeypatch):
    def call(*arguments: object) -> str:
        done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    monkeypatch.chdir(tmp_path)
    assert call("export", "made", "--runs", made.run.path.parent.parent, "--phase", "rgb", "-o", "model") == "model\n"
    assert call("embed", "model", made.videos, "-o", "out/f.safetensors") == "out/f.safetensors\nout/f.csv\n"
    features = load_file("out/f.safetensors")["features"]
    assert torch.equal(features, features_of_the_run(made, "rgb"))
    with Path("out/f.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["row"], row["label"]) for row in rows] == [("0", "a"), ("1", "a"), ("2", "b"), ("3", "b")]
    assert all(Path(row["path"]).is_file() for row in rows)


def test_what_is_exported_is_said_and_nothing_is_replaced_unasked(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = str(made.run.path.parent.parent)
    done = CliRunner().invoke(app, ["export", "made", "--runs", runs, "--phase", "rgb", "-o", "model"])
    assert "the encoder of phase 'rgb', for view 'rgb'; --phase takes another: " in done.stderr
    embed = ["embed", "model", str(made.videos), "-o", "f.safetensors"]
    Path("f.csv").write_text("mine")
    refused = CliRunner().invoke(app, embed)
    assert str(refused.exception) == "f.csv: exists already; --force replaces it"
    assert Path("f.csv").read_text() == "mine"
    assert CliRunner().invoke(app, [*embed, "--force"]).exit_code == 0
    for folder, why in (("nowhere", "no such folder"), (str(made.run.path), "a run, not an exported encoder")):
        refused = CliRunner().invoke(app, ["embed", folder, str(made.videos), "-o", "g.safetensors"])
        assert f"{folder}: {why}; cprspec export" in str(refused.exception)


def test_videos_of_a_store_keep_their_names(exports, made, tmp_path):
    store = tmp_path / "store"
    prepare = [
        "data",
        "prepare",
        "folder",
        "--root",
        str(made.videos),
        "--out",
        str(store),
        "--flow",
        "none",
        "--short-side",
        "36",
    ]
    assert CliRunner().invoke(app, prepare).exit_code == 0
    found = cprspec.load_encoder(exports["cycle"].folder, device="cpu").embed(store)
    assert found.names == ("a/1.mp4", "a/2.mp4", "b/1.mp4", "b/2.mp4")
    found.save(tmp_path / "f.safetensors")
    again = read_embeddings(tmp_path / "f.safetensors")
    assert (again.names, again.paths) == (found.names, found.paths)
