"""Published layouts to ours: every tensor mapped, ignored or unfilled, and the network computes the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close
from typer.testing import CliRunner

from cprspec.cli import app
from cprspec.components.backbones import C3D, COMPONENTS, R2D3D50, ResNet3D, Torchvision
from cprspec.errors import CprspecError
from cprspec.models.encoders import fill, read_weights
from cprspec.models.heads import Encoder
from cprspec.models.s3d import S3D
from cprspec.models.tiny import Tiny
from cprspec.spec.schema import WeightsFile
from cprspec.weights.families import FAMILIES
from cprspec.weights.importing import import_weights, map_weights
from cprspec.weights.layouts import Ignored, layout_of
from cprspec.weights.reading import Opened

EMBEDDING = 20


@pytest.fixture
def golden_folder(request):
    folder = request.config.getoption("golden")
    if folder is None or not (folder / "s3d_a_io.safetensors").exists():
        pytest.skip("needs --golden DIR with s3d_a_io")
    return folder


def narrow(gating: bool = False, seed: int = 0) -> Encoder:
    """A narrow S3D with a head, no value as initialised."""
    torch.manual_seed(seed)
    backbone = S3D(width=0.0625, gating=gating)
    encoder = Encoder(backbone, backbone.feature_size, EMBEDDING).eval()
    for value in encoder.state_dict().values():
        value.add_(torch.rand(value.shape) * 0.1 if value.is_floating_point() else 7)
    return encoder


def published(parts: dict[str, dict[str, torch.Tensor]]) -> dict:
    """A checkpoint as CoCLR's code writes it: networks by name, S3D's tensors twice, queues, and training's own state."""
    state: dict[str, torch.Tensor] = {}
    for part, tensors in parts.items():
        for name, tensor in tensors.items():
            state[f"{part}.{name}"] = tensor
            for layer, alias in (("Conv_1a", "block1.0"), ("Mixed_5c", "block5.2")):
                if name.startswith(f"0.{layer}."):
                    state[f"{part}.{name.replace(layer, alias)}"] = tensor
    state |= {
        "queue": torch.zeros(EMBEDDING, 8),
        "queue_ptr": torch.zeros(1).long(),
        "queue_vname": torch.zeros(8).long(),
    }
    state |= {"queue_second": torch.zeros(EMBEDDING, 8), "memory_index_record": torch.zeros(8).long()}
    return {
        "epoch": 9,
        "state_dict": state,
        "best_acc": 0.5,
        "optimizer": {"state": {}, "param_groups": []},
        "iteration": 1,
    }


def opened(tensors: dict[str, torch.Tensor]) -> Opened:
    return Opened(Path("x.pth"), "zip", "state_dict", tensors, ())


def torchvision_keys(encoder: Encoder) -> dict[str, torch.Tensor]:
    """torchvision's names from ours, the other way round than the code under test: by position in the module tree."""
    ours, theirs = encoder[0], {}
    order = {"Conv_1a": 0, "Conv_2b": 2, "Conv_2c": 3, "3b": 5, "3c": 6, "4b": 8, "4c": 9, "4d": 10, "4e": 11}
    order |= {"4f": 12, "5b": 14, "5c": 15}
    for name, tensor in ours.state_dict().items():
        *path, leaf = name.removeprefix("Mixed_").split(".")
        layer, operation = path[-1].rstrip("12"), path[-1][-1:]
        inner = [str(int(operation) - 1)] if operation in "12" else []
        inner.append("0" if layer == "conv" else "1")
        middle = path[1:-1]
        if middle and middle[0] == "branch0":
            middle = middle[:1]
        theirs[".".join(["features", str(order[path[0]]), *middle, *inner, leaf])] = tensor
    return theirs


def problems(tensors: dict[str, torch.Tensor], **options) -> str:
    with pytest.raises(CprspecError) as caught:
        map_weights(opened(tensors), **options)
    return str(caught.value)


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_published_checkpoint_through_the_command(tmp_path):
    parts = {name: narrow(seed=i).state_dict() for i, name in enumerate(("encoder_q", "encoder_k", "sampler"))}
    torch.save(published(parts), tmp_path / "epoch9.safetensors")  # its name does not matter
    arguments = ["import", str(tmp_path / "epoch9.safetensors"), str(tmp_path / "out" / "q.safetensors"), "--json"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    record = json.loads(done.stdout)
    out = load_file(tmp_path / "out" / "q.safetensors")
    assert same(out, parts["encoder_q"])
    refused = CliRunner().invoke(app, arguments)
    assert "exists already; --force replaces it" in str(refused.exception)
    assert CliRunner().invoke(app, [*arguments, "--force"]).exit_code == 0
    assert (record["layout"], record["part"], record["unfilled"]) == ("coclr", "encoder_q", [])
    assert record["backbone"] == {"component": "s3d", "width": 0.0625, "gating": False}
    reasons = {item["from"]: item["reason"] for item in record["ignored"]}
    assert reasons["queue_second"] == "state of the queue"
    assert reasons["sampler.2.weight"] == "belongs to sampler"
    assert reasons["encoder_q.0.block1.0.conv1.weight"].startswith("second name")
    named = [item["from"] for item in record["mapped"]] + list(reasons)
    assert sorted(named) == sorted(published(parts)["state_dict"])  # each tensor once
    # and a phase could start from it
    source = WeightsFile(tmp_path / "out" / "q.safetensors")
    fill(narrow(seed=7), read_weights(source), "start", source)


@pytest.mark.parametrize("part", ["encoder_k", "sampler"])
def test_other_parts(part):
    parts = {name: narrow(seed=i).state_dict() for i, name in enumerate(("encoder_q", "encoder_k", "sampler"))}
    imported = map_weights(opened(published(parts)["state_dict"]), part)
    assert same(imported.tensors, parts[part])
    state = published({"encoder_q": parts["encoder_q"]})["state_dict"]
    assert f"holds no '{part}'; it has 'encoder_q'" in problems(state, part=part)


def test_classifier_of_a_gated_network():
    encoder = narrow(gating=True)
    state = {f"backbone.{k}": v for k, v in encoder[0].state_dict().items()}
    state |= {"final_fc.1.weight": torch.zeros(5, 64), "final_fc.1.bias": torch.zeros(5)}
    assert "unfilled: 2.weight, 2.bias, 4.weight, 4.bias; allow it by name: --allow-missing 2. --allow-missing 4." in (
        problems(state)
    )
    imported = map_weights(opened(state), allow_missing=["2.", "4."])
    assert imported.backbone.gating
    assert same(imported.tensors, {k: v for k, v in encoder.state_dict().items() if k.startswith("0.")})
    assert imported.unfilled == ("2.weight", "2.bias", "4.weight", "4.bias")
    assert dict(imported.ignored)["final_fc.1.bias"] == "of the classifier"


def test_own_layout_and_bare_backbone():
    tiny = Encoder(Tiny(0.5), 64, EMBEDDING)
    assert same(map_weights(opened(dict(tiny.state_dict()))).tensors, tiny.state_dict())
    bare = map_weights(opened(dict(tiny[0].state_dict())), allow_missing=["2.", "4."])
    assert same({k.removeprefix("0."): v for k, v in bare.tensors.items()}, tiny[0].state_dict())


@pytest.mark.parametrize(
    "backbone",
    [
        ResNet3D(width=0.0625),
        ResNet3D(width=0.0625, blocks=2),
        ResNet3D(width=0.125, factored=True),
        C3D(width=0.0625),
        R2D3D50(width=0.0625),
        Torchvision(network="r3d_18"),
        Torchvision(network="mc3_18"),
        Torchvision(network="r2plus1d_18"),
    ],
    ids=str,
)
def test_every_backbone_is_told_from_its_tensors(backbone):
    network = backbone.build()
    # as IIC and torchvision save it: the network's own names, and a classifier
    state = {**network.state_dict(), "fc.weight": torch.zeros(4, 8), "fc.bias": torch.zeros(4)}
    imported = map_weights(opened(state), allow_missing=["2.", "4."])
    assert imported.backbone == backbone
    assert same({k.removeprefix("0."): v for k, v in imported.tensors.items()}, network.state_dict())
    assert [name for name, _ in imported.ignored] == ["fc.bias", "fc.weight"]


def test_every_component_has_a_family():
    built = {type(family.build({})) for family in FAMILIES}
    assert built == set(COMPONENTS)


def test_torchvision_computes_the_same():
    from torchvision.models.video import s3d

    torch.manual_seed(0)
    theirs = s3d(weights=None).eval()
    for name, value in theirs.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.001, 0.1)  # small, so that batch norm's constant matters
    imported = map_weights(opened(dict(theirs.state_dict())), allow_missing=["2.", "4."])
    assert len(imported.mapped) == 462
    assert imported.notes
    assert imported.notes[0].startswith("running_var + 0.00099")
    encoder = Encoder(S3D(), 1024, 128).eval()
    encoder.load_state_dict(dict(imported.tensors), strict=False)
    clip = torch.rand(1, 3, 8, 32, 32)
    with torch.no_grad():
        expected = theirs.features(clip)
        assert_close(encoder[0](clip), expected, atol=1e-4 * expected.abs().max().item(), rtol=0)


def test_torchvision_names_at_another_width():
    encoder = narrow()
    imported = map_weights(opened(torchvision_keys(encoder)), allow_missing=["2.", "4."])
    for name, tensor in encoder[0].state_dict().items():
        eps = 1e-3 - 1e-5 if name.endswith("running_var") else 0
        assert torch.equal(imported.tensors[f"0.{name}"], tensor + eps)


@pytest.mark.parametrize("name", ["features.1.weight", "features.5.branch4.0.weight", "features.5.branch0.0.0.weight",
                                  "features.5.branch1.weight", "features.0.0.2.weight", "features.5.branch3.0.0.weight",
                                  "other"])  # fmt: skip
def test_torchvision_names_that_are_none(name):
    layout = layout_of(frozenset({"features.0.0.0.weight"}))
    assert layout.name == "torchvision-s3d"
    assert layout.rename(name, "") == Ignored("no layer of S3D has this name")


def test_what_does_not_fit():
    state = dict(narrow().state_dict())
    assert "unfilled: 0.Conv_2b.bn.bias" in problems({k: v for k, v in state.items() if k != "0.Conv_2b.bn.bias"})
    wrong = {**state, "0.Conv_2b.bn.bias": torch.zeros(9)}
    assert "shapes do not fit: 0.Conv_2b.bn.bias: (9,) where (4,) is expected" in problems(wrong)
    assert "not finite" in problems({**state, "2.bias": torch.full((64,), torch.nan)})
    assert "not finite" in problems({**state, "2.bias": torch.full((64,), 1e300, dtype=torch.float64)})
    assert "holds int64 where float32" in problems({**state, "2.bias": torch.zeros(64).long()})
    assert "no tensor of the encoder begins with 'fc'" in problems(state, allow_missing=["fc"])
    assert "names of no known layout" in problems({"\x1b[31m": torch.zeros(1)})
    assert "\x1b" not in problems({"\x1b[31m": torch.zeros(1)})
    assert "shapes are those of no s3d" in problems({"Conv_1a.conv1.weight": torch.zeros(10_000, 3, 1, 7, 7)})
    assert "one encoder; leave --part out" in problems(state, part="encoder_k")
    extra = map_weights(opened({**state, "0.more": torch.zeros(1), "6.weight": torch.zeros(1)}))
    assert dict(extra.ignored) == {"0.more": "s3d has no such tensor", "6.weight": "s3d has no such tensor"}


def test_the_account_for_a_reader():
    imported = map_weights(opened({**narrow().state_dict(), "6.\x1b[31m": torch.zeros(1)}))
    lines = imported.lines()
    assert len(lines) == len(imported.mapped) + 1
    assert lines[0] == "mapped    0.Conv_1a.conv1.weight -> 0.Conv_1a.conv1.weight (4, 3, 1, 7, 7)"
    assert lines[-1] == "ignored   6.\\x1b[31m: s3d has no such tensor"
    assert imported.summary()[:2] == [
        "encoder of cprspec (zip); backbone s3d (width 0.0625, gating False)",
        "466 mapped, 1 ignored, 0 unfilled",
    ]


def test_halves_become_floats():
    state = {k: v.half() if v.is_floating_point() else v.int() for k, v in narrow().state_dict().items()}
    imported = map_weights(opened(state))
    assert {t.dtype for t in imported.tensors.values()} == {torch.float32, torch.int64}
    assert imported.notes == ("float16 is written as float32",)


def test_the_file_itself_is_not_replaced(tmp_path):
    file = tmp_path / "x"
    file.write_bytes(b"kept")
    imported = map_weights(Opened(file, "zip", "", dict(narrow().state_dict()), ()))
    with pytest.raises(CprspecError, match="would replace the file"):
        imported.save(file)
    assert file.read_bytes() == b"kept"


def test_golden_features_from_the_published_layout(golden_folder, tmp_path):
    weights = load_file(golden_folder / "s3d_a_weights.safetensors")
    weights = {f"0.{k}": v.float() if v.is_floating_point() else v for k, v in weights.items()}
    head = {"2.weight": torch.rand(1024, 1024, 1, 1, 1), "2.bias": torch.rand(1024)}
    head |= {"4.weight": torch.rand(128, 1024, 1, 1, 1), "4.bias": torch.rand(128)}
    torch.save(published({"encoder_q": weights | head, "encoder_k": weights | head}), tmp_path / "x.pth.tar")
    imported = import_weights(tmp_path / "x.pth.tar")
    assert len(imported.mapped) == 466
    listed = json.loads((golden_folder / "s3d_checkpoint_keys.json").read_text())
    wanted = {f"encoder_q.0.{key}" for key in listed["s3d_backbone"] if not key.startswith("block")}
    assert wanted | {k for k in listed["infonce_extra"] if k.startswith("encoder_q")} == {a for a, _ in imported.mapped}
    imported.save(tmp_path / "x.safetensors")
    source = WeightsFile(tmp_path / "x.safetensors")
    encoder = Encoder(S3D(), 1024, 128).eval()
    fill(encoder, read_weights(source), "golden", source)
    golden = load_file(golden_folder / "s3d_a_io.safetensors")
    for case in ("eval0", "eval1"):
        with torch.no_grad():
            found = encoder.features(golden[f"{case}.input"].float())
        expected = golden[f"{case}.pooled"]
        assert_close(found, expected, atol=5e-5 * expected.abs().max().item(), rtol=0)


def test_golden_torchvision_names(golden_folder):
    layout = layout_of(frozenset({"features.0.0.0.weight"}))
    listed = json.loads((golden_folder / "s3d_to_torchvision_keys.json").read_text())
    assert {theirs: layout.rename(theirs, "") for theirs in listed.values()} == {b: f"0.{a}" for a, b in listed.items()}
