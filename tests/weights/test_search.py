"""Search: the nearest videos by hand, embedding files that do not fit, and the commands from export to gallery."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from cprspec.cli import app
from cprspec.errors import CprspecError
from cprspec.weights.card import Maker
from cprspec.weights.embeddings import Embeddings, read_embeddings
from cprspec.weights.search import in_words, search

MAKER = Maker(name="[b]x", phase="p", digest="0" * 64)


def embeddings(features, labels=None, paths=None, maker=MAKER):
    paths = paths or tuple(Path(f"v{i}.mp4") for i in range(len(features)))
    return Embeddings(paths, labels or (None,) * len(features), torch.as_tensor(features).float(), maker)


def test_the_nearest_by_the_definition():
    generator = torch.Generator().manual_seed(0)
    gallery, asked = torch.randn(9, 4, generator=generator) + 3, torch.randn(3, 4, generator=generator) + 3
    labels = tuple("abc"[i % 3] for i in range(9))
    queries = embeddings(asked, ("a", "b", None), (Path("q0.mp4"), Path("v4.mp4"), Path("q2.mp4")))
    found = search(queries, embeddings(gallery, labels), 4, Path("f"))
    mean = [sum(row[f] for row in gallery.tolist()) / 9 for f in range(4)]
    right = 0
    for q, answer in enumerate(found.answers):
        own = [x - m for x, m in zip(asked[q].tolist(), mean, strict=True)]
        scores = {}
        for v in range(9):
            other = [x - m for x, m in zip(gallery[v].tolist(), mean, strict=True)]
            dot = sum(a * b for a, b in zip(own, other, strict=True))
            scores[v] = dot / (sum(a * a for a in own) * sum(b * b for b in other)) ** 0.5
        if q == 1:
            del scores[4]  # the query's own file
        order = sorted(scores, key=lambda v: -scores[v])[:4]
        assert [f.path.name for f in answer.found] == [f"v{v}.mp4" for v in order]
        assert [f.rank for f in answer.found] == [1, 2, 3, 4]
        assert [f.score for f in answer.found] == pytest.approx([scores[v] for v in order], abs=1e-5)
        right += q < 2 and labels[order[0]] == ("a", "b")[q]
    assert found.right == (right, 2)
    assert in_words(found)[0] == "q0.mp4 (a)"
    assert json.loads(json.dumps(found.to_json()))["queries"][2]["label"] is None


def test_one_encoder_only_and_something_to_search():
    other = embeddings(torch.ones(2, 3), maker=Maker(name="y", phase="p", digest="1" * 64))
    with pytest.raises(CprspecError, match=r"made by another encoder: y, phase p \(11111111\), not \[b\]x"):
        search(embeddings(torch.ones(1, 3)), other, 1, Path("f"))
    with pytest.raises(CprspecError, match="holds no videos"):
        search(embeddings(torch.ones(1, 3)), embeddings(torch.ones(0, 3)), 1, Path("f"))


def test_an_embedding_file_comes_back_as_it_was(tmp_path):
    paths = (Path('a,b\n"c".mp4'), Path("\udcff.mp4"))
    saved = embeddings([[1.0, 2.0], [3.0, 4.0]], ("x", None), paths)
    saved.save(tmp_path / "f.safetensors")
    read = read_embeddings(tmp_path / "f.safetensors")
    assert (read.paths, read.labels, read.maker) == (paths, ("x", None), MAKER)
    assert torch.equal(read.features_VF, saved.features_VF)
    (tmp_path / "g.safetensors").write_bytes((tmp_path / "f.safetensors").read_bytes())
    saved.save(tmp_path / "g.safetensors")
    assert (tmp_path / "f.safetensors").read_bytes() == (tmp_path / "g.safetensors").read_bytes()


def test_damaged_embedding_files(tmp_path):
    file = tmp_path / "f.safetensors"
    embeddings([[1.0, 2.0], [3.0, 4.0]]).save(file)
    whole, listing = file.read_bytes(), file.with_suffix(".csv").read_bytes()

    def refused(message):
        with pytest.raises(CprspecError, match=message):
            read_embeddings(file)

    for damaged in (b"", b"{}", whole[:40], b"\xff" * 80):
        file.write_bytes(damaged)
        refused("not an embedding file: it is no safetensors file")
    file.write_bytes(whole[:-1])
    refused("not an embedding file: its header or its tensors are damaged")
    save_file({"features": torch.ones(2, 2)}, file)
    refused("does not say which encoder made it")
    save_file(
        {"features": torch.full((2, 2), torch.nan)},
        file,
        {"cprspec": json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])["__metadata__"]["cprspec"]},
    )
    refused("not finite")
    save_file({"features": torch.ones(2, 2)}, file, {"cprspec": '{"kind": "embeddings", "schema": 2}'})
    refused("schema 2")
    file.write_bytes(whole)
    file.with_suffix(".csv").write_bytes(listing.splitlines(keepends=True)[0])
    refused("names 0 videos, and f.safetensors has features of 2")
    file.with_suffix(".csv").write_bytes(b"other\n1\n")
    refused("cannot read the table")
    file.with_suffix(".csv").unlink()
    refused("No such file")
    file.unlink()
    refused("No such file")


def test_from_export_to_gallery(made, tmp_path, monkeypatch):
    def call(*arguments):
        done = CliRunner().invoke(app, ["search", *(str(a) for a in arguments)], catch_exceptions=True)
        return done.exit_code, done.stdout, done.stderr, done.exception

    monkeypatch.chdir(tmp_path)
    for name in ("rgb", "flow"):
        arguments = ["export", "made", "--runs", made.run.path.parent.parent, "--phase", name, "-o", name]
        assert CliRunner().invoke(app, [str(a) for a in arguments]).exit_code == 0
    assert CliRunner().invoke(app, ["embed", "rgb", str(made.videos), "-o", "f.safetensors"]).exit_code == 0
    query = made.videos / "a" / "1.mp4"
    code, out, talk, _ = call("rgb", query, "--in", "f.safetensors", "--top", "2", "--html", "g.html", "--json")
    assert code == 0
    data = json.loads(out)
    (answer,) = data["queries"]
    assert (data["videos"], answer["path"], [f["rank"] for f in answer["found"]]) == (4, str(query), [1, 2])
    features = load_file("f.safetensors")["features"]
    centred = torch.nn.functional.normalize(features - features.mean(0))
    scores = (centred[0] @ centred.T)[1:]
    assert [f["score"] for f in answer["found"]] == pytest.approx(
        scores.sort(descending=True).values[:2].tolist(), abs=1e-5
    )
    text = Path("g.html").read_text()
    assert text.count("data:image/jpeg") == 3
    assert "http" not in text.replace("http-equiv", "")
    assert "wrote g.html" in talk
    by_run = call("made", query, "--in", "f.safetensors", "--phase", "rgb", "--runs", made.run.path.parent.parent)
    assert by_run[1].count("\n") == 4
    (_, _, _, error) = call("flow", query, "--in", "f.safetensors")
    assert "made by another encoder: made, phase rgb" in str(error)
    assert "no such embedding file" in str(call("rgb", query, "--in", "nowhere")[3])
    assert "leave it out" in str(call("rgb", query, "--in", "f.safetensors", "--phase", "rgb")[3])
    assert "end its name with .html" in str(call("rgb", query, "--in", "f.safetensors", "--html", "g.txt")[3])
    with monkeypatch.context() as early:  # before anything is decoded
        early.setattr("cprspec.weights.embed.LoadedEncoder.embed", lambda *_, **__: pytest.fail("it was encoded"))
        assert "gone.mp4: no such file" in str(call("rgb", query, "gone.mp4", "--in", "f.safetensors")[3])
        for file in ("f.safetensors/g.html", "rgb.html"):
            Path("rgb.html").mkdir(exist_ok=True)
            said = str(call("rgb", query, "--in", "f.safetensors", "--html", file)[3])
            assert f"{file}: cannot write: " in said and said.endswith("; choose another place")
        for arguments, said in (
            (["gone.mp4", "-o", "n.safetensors"], "gone.mp4: no such file"),
            ([str(query), "-o", "n.csv"], "the table of paths is called so"),
            ([str(query), "-o", "f.safetensors/n"], "cannot write: Not a directory"),
        ):
            assert said in str(CliRunner().invoke(app, ["embed", "rgb", *arguments]).exception)
    code, out, talk, _ = call("rgb", made.videos, "--in", made.videos, "--top", "1")
    assert "has the query's class for" in talk
    assert "of 4 queries" in talk
