"""Weights that leave and come back give the same features to the bit; published files give the published features."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from attrs import evolve
from made_run import SPEC
from safetensors.torch import load_file, safe_open
from torch.testing import assert_close

import cprspec
from cprspec.components.evaluators import Embeddings
from cprspec.evaluation.encoders import Trained
from cprspec.evaluation.run import evaluate
from cprspec.learning.ranks import Ranks
from cprspec.models.encoders import build_encoder, fill, new_encoder, read_weights
from cprspec.models.heads import conv5_features
from cprspec.spec.registry import builtin_registry
from cprspec.spec.resolve import resolve
from cprspec.spec.schema import WeightsFile
from cprspec.video.store import Store
from cprspec.weights import embed
from cprspec.weights.export import export_run
from cprspec.weights.importing import import_weights

GOLDEN = Path(__file__).parents[1] / "golden"
sys.path.append(str(GOLDEN))  # how the values that are not stored are made

from golden_backbones import uniform, value_of  # noqa: E402


def nothing(*_):
    pass


@pytest.fixture(scope="module")
def trained(made):
    """What evaluation is given of the made run."""
    return Trained(
        resolved=made.resolved,
        indices={"clips": made.resolved.datasets["clips"].build(made.videos)},
        store=Store(),
        weights=made.weights,
        ranks=Ranks(device=torch.device("cpu")),
        pause=nothing,
        pause_together=nothing,
        report=nothing,
    )


def evaluated(trained, encoder, work):
    """The features that an evaluation writes beside its results."""
    return evaluate("all", Embeddings(encoders=(encoder,)), trained, work).tensors[f"clips/{encoder}"]


@pytest.mark.parametrize("phase", ["cycle", "flow"])
def test_evaluation_export_and_import(made, trained, tmp_path, phase, monkeypatch):
    expected = evaluated(trained, phase, tmp_path / "work")
    assert expected.std() > 0
    export = export_run(made.run, phase, tmp_path / "model", builtin_registry()).folder
    for at_once in (16, 1):  # the same whatever is encoded beside a video
        monkeypatch.setattr(embed, "AT_ONCE", at_once)
        found = cprspec.load_encoder(export, device="cpu").embed(made.videos)
        assert torch.equal(found.features_VF, expected)
    imported = import_weights(export / "weights.safetensors")
    imported.save(tmp_path / "again.safetensors")
    text = SPEC.replace(f"[phase.{phase}]\n", f'[phase.{phase}]\nstart_from = {{ file = "again.safetensors" }}\n')
    text = text.replace('start_from = "rgb"\n', "")
    (tmp_path / "next.toml").write_text(text)
    next_one = resolve(tmp_path / "next.toml", builtin_registry(), roots={"clips": str(made.videos)})
    source = next_one.phase(phase).start_from
    network = build_encoder(next_one.phase(phase))
    fill(network, read_weights(source), "start", source)
    begun = {**made.weights, phase: network.state_dict()}
    assert torch.equal(evaluated(evolve(trained, weights=begun), phase, tmp_path / "again"), expected)


@pytest.mark.parametrize("name", ["c3d", "r3d"])
def test_the_published_layout_of_iic(tmp_path, name):
    """`torch.save({"model": state dict})` with a classifier, as IIC's training writes it."""
    with safe_open(GOLDEN / "data" / f"backbone_{name}_a.safetensors", "pt") as file:
        facts = file.metadata()
    golden = load_file(GOLDEN / "data" / f"backbone_{name}_a.safetensors")
    card = builtin_registry().find("backbone", name)
    component = card.component(**card.options)
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in component.build().state_dict().items()}
    state = {key: value_of(key, shape, facts["salt"].strip('"')) for key, shape in shapes.items()}
    state |= {"linear.weight": torch.zeros(101, 512), "linear.bias": torch.zeros(101)}
    torch.save({"model": state, "epoch": 240}, tmp_path / "iic.pt")
    imported = import_weights(tmp_path / "iic.pt", allow_missing=["2.", "4."])
    assert imported.backbone == component
    imported.save(tmp_path / "iic.safetensors")
    source = WeightsFile(tmp_path / "iic.safetensors")
    encoder = new_encoder(component, 0, seed=1).eval()  # IIC's has no head
    fill(encoder, read_weights(source), "golden", source)
    shape = json.loads(facts["input_shape"])
    clip = torch.from_numpy(2 * uniform(facts["input_key"].strip('"'), int(np.prod(shape))) - 1).float().reshape(shape)
    with torch.no_grad():
        outputs = {"pooled": encoder.features(clip), "return_conv": conv5_features(encoder[0](clip))}
    for key, found in outputs.items():
        assert_close(found, golden[key], atol=5e-5 * golden[key].abs().max().item(), rtol=0)
