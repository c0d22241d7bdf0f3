"""Golden checks of retrieval, class mining recall, frame sampling and flow."""

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from cprspec.evaluation.features import FrozenEncoder, video_feature
from cprspec.evaluation.nearest import compared
from cprspec.evaluation.retrieval import rank, recall_at


class Pooled(nn.Linear):
    """Stands for an encoder where clips are their pooled features already."""

    def __init__(self):
        super().__init__(1, 1)

    def features(self, pooled_NF):
        return pooled_NF


def check_retrieval(golden):
    encoder, features = FrozenEncoder(Pooled(), "rgb", nn.Identity()), {}
    for split in ("test", "train"):
        videos = golden[f"{split}_clip_pooled"].split(golden[f"{split}_n_clips"].tolist())
        features[split] = torch.cat([video_feature(encoder, pooled_NF, torch.device("cpu")) for pooled_NF in videos])
        assert_close(features[split], golden[f"{split}_video_feature"], atol=1e-6, rtol=0)
    test, train = compared("default", [features["test"]], [features["train"]])
    assert_close(test @ train.T, golden["similarity"], atol=1e-5, rtol=0)
    recall = recall_at(rank(test, train, golden["test_label"], golden["train_label"]), golden.facts["ks"])
    expected = golden["recall_at_1_5_10_20_50"].tolist()
    assert [recall[k] for k in golden.facts["ks"]] == pytest.approx(expected, abs=1e-6)


def check_two_streams(golden):
    splits = ([golden[f"{view}_{split}"] for view in ("rgb", "flow")] for split in ("test", "train"))
    test, train = compared("default", *splits)
    assert_close(test @ train.T, golden["similarity"], atol=1e-5, rtol=0)
    recall = recall_at(rank(test, train, golden["test_label"], golden["train_label"]), (1, 5, 10, 20, 50))
    assert list(recall.values()) == pytest.approx(golden["recall_at_1_5_10_20_50"].tolist(), abs=1e-6)


def check_iic_retrieval(golden):
    test, train = (golden[f"{split}_clip_feature"].mean(1) for split in ("test", "train"))
    ranked = rank(*compared("iic", [test], [train]), golden["test_label"], golden["train_label"])
    recall = recall_at(ranked, (1, 5, 10, 20, 50))
    assert [round(r * len(test)) for r in recall.values()] == golden["topk_correct_1_5_10_20_50"].tolist()


def check_cmr(golden):
    from cprspec.mining.cmr import class_mining_recall

    cases = sorted({key.split(".")[0] for key in golden.tensors})
    for case in cases:
        values = {key: value.numpy() for key, value in golden.under(f"{case}.").items()}
        for column, own_counts in (("per_class", True), ("per_class_excluding_self", False)):
            # The ids are both the instances and the sources, and the set gives a class of one a recall.
            recall = class_mining_recall(
                values["anchor_id"], values["selected_id"], values["label"], np.arange(len(values["label"])),
                classes=int(values["num_classes"]), own_counts=own_counts, least_sources=1,
            )  # fmt: skip
            np.testing.assert_array_equal(recall.recall_C, values[column], err_msg=f"{case} {column}")
            if own_counts:
                assert recall.mean == pytest.approx(float(values["mean"]), nan_ok=True)
                assert recall.median == pytest.approx(float(values["median"]), nan_ok=True)


def check_sampling(golden):
    from cprspec.video.sampling import iic_test_starts, test_windows

    for key, expected in golden.tensors.items():
        kind, *numbers = re.fullmatch(r"(\w+)\.total(\d+)\.(?:frames|clip)(\d+)(?:\.ds(\d+))?", key).groups()
        total, frames, stride = (int(n or 1) for n in numbers)
        found = test_windows(total, frames, stride) if kind == "coclr_test" else iic_test_starts(total, frames)
        np.testing.assert_array_equal(found, expected.numpy(), err_msg=key)


def check_flow(golden):
    from cprspec.video.flow import compute_flow, quantise

    bound = golden.facts["bound"]
    np.testing.assert_array_equal(quantise(golden["flow"].numpy(), bound), golden["quantised"].numpy())
    pair = np.stack([golden["tvl1_prev"].numpy(), golden["tvl1_curr"].numpy()])
    flow = compute_flow(np.repeat(pair[..., None], 3, axis=-1), "tvl1")[0]
    difference = np.abs(quantise(flow, bound).astype(int) - golden["tvl1_quantised"].numpy().astype(int))
    assert (difference <= 2).mean() >= 0.99
