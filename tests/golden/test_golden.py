"""Numbers of the published code, reproduced: `pytest tests/golden --golden DIR`.

Each file says in its metadata to which set it belongs; the set chooses the check. The vectors were made by running the
authors' public code; tolerances are those stated with them.
"""

import json
from pathlib import Path

import golden_backbones
import golden_cascade
import golden_features
import golden_iic
import golden_models
import golden_recognition
import golden_training
from attrs import frozen
from safetensors.torch import safe_open

CHECKS = {
    "cascade_mining": golden_cascade.check_cascade,
    "coclr_topk": golden_cascade.check_topk,
    "losses": golden_cascade.check_losses,
    "moco": golden_training.check_moco,
    "coclr_feature_trace": golden_training.check_features,
    "training_trace": golden_training.check_training,
    "s3d_weights": golden_models.check_weights,
    "s3d_io": golden_models.check_io,
    "s3dg_block": golden_models.check_gated_block,
    "backbone_hash": golden_backbones.check_backbone,
    "retrieval": golden_features.check_retrieval,
    "iic_retrieval": golden_features.check_iic_retrieval,
    "two_stream_retrieval": golden_features.check_two_streams,
    "linear_head": golden_recognition.check_linear_head,
    "ten_crop": golden_recognition.check_crops,
    "cmr": golden_features.check_cmr,
    "frame_sampling": golden_features.check_sampling,
    "flow_quantisation": golden_features.check_flow,
    "iic_nce": golden_iic.check_nce,
    "iic_views": golden_iic.check_views,
}


@frozen
class Golden:
    """A file of golden vectors: its tensors and its hyper-parameters."""

    file: object
    tensors: dict
    facts: dict

    def __getitem__(self, key):
        return self.tensors[key]

    def under(self, prefix):
        """The tensors whose name starts with `prefix`, without it."""
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}


def read(file):
    with safe_open(file, "pt") as content:
        facts = {key: _value(text) for key, text in content.metadata().items()}
        return Golden(file, {key: content.get_tensor(key) for key in content.keys()}, facts)  # noqa: SIM118


def _value(text):
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def pytest_generate_tests(metafunc):
    """One test for each file: of the folder given by --golden, or of the small copies beside this module."""
    folder = metafunc.config.getoption("golden") or Path(__file__).parent / "data"
    files = sorted(folder.glob("*.safetensors"))
    assert files, f"no *.safetensors in {folder}"
    metafunc.parametrize("golden_file", files, ids=[file.stem for file in files])


def test_golden(golden_file):
    golden = read(golden_file)
    name = golden.facts["set"]
    assert name in CHECKS, f"unknown set '{name}'"
    CHECKS[name](golden)
