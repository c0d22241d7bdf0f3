"""Scores of a bank in bf16 against their definition, and banks in bf16 within both frameworks."""

import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.nn.functional import normalize

from cprspec.learning import similarity as module
from cprspec.learning.bank import Bank
from cprspec.learning.cascade import Cascade
from cprspec.learning.iic import IIC, move_rows
from cprspec.learning.moco import MoCo
from cprspec.learning.similarity import inner, similarity

N, K, D = 5, 11, 8


@pytest.fixture(params=[4, 4096])
def tile(request, monkeypatch):
    monkeypatch.setattr(module, "TILE", request.param)


def rows(count, seed):
    return normalize(torch.randn(count, D, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("queries", [0, 1, N, 200])
def test_a_float32_bank_is_one_product(monkeypatch, queries, onednn):
    if not onednn:
        monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: False)
    query, bank = rows(queries, 0), rows(K, 1)
    torch.testing.assert_close(similarity(query, bank), query @ bank.T, rtol=0, atol=3e-7)
    assert torch.equal(similarity(query.double(), bank.double()), query.double() @ bank.double().T)


def test_products_within_autocast_and_of_other_types():
    query, bank = rows(N, 0), rows(K, 1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(inner(query, bank), query @ bank.T)
    for dtype in (torch.float64, torch.bfloat16):
        assert torch.equal(inner(query.to(dtype), bank.to(dtype)), query.to(dtype) @ bank.to(dtype).T)


def test_queries_that_learn_get_their_gradient():
    query, bank = rows(N, 0).requires_grad_(), rows(K, 1)
    (ours,) = torch.autograd.grad(similarity(query, bank).sum(), query)
    torch.testing.assert_close(ours, bank.sum(0).expand_as(query))
    with torch.no_grad():
        assert not similarity(query, bank).requires_grad


def test_a_bf16_bank_is_compared_as_float32(tile):
    query, bank = rows(N, 0).requires_grad_(), rows(K, 1).bfloat16()
    scores = similarity(query, bank)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, query @ bank.float().T)
    weight = torch.randn(N, K)
    (ours,) = torch.autograd.grad((scores * weight).sum(), query)
    torch.testing.assert_close(ours, weight @ bank.float())
    assert (scores - query @ rows(K, 1).T).abs().max() <= 2**-8


def test_half_the_memory_is_kept_for_the_backward_pass():
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.dtype) or t, lambda t: t):
        similarity(rows(N, 0).requires_grad_(), rows(K, 1).bfloat16())
    assert kept == [torch.bfloat16]


def test_a_bank_in_bf16_travels_as_it_is():
    bank, copy = (Bank(K, D, D, torch.Generator().manual_seed(seed), torch.bfloat16) for seed in (0, 1))
    bank.enqueue(rows(3, 0), rows(3, 1), torch.arange(3), torch.arange(3))
    assert torch.equal(bank.key_KD[:3], rows(3, 0).bfloat16())
    copy.load_state_dict(load(save(bank.state_dict())))
    assert copy.key_KD.dtype == copy.mining_KD.dtype == torch.bfloat16
    assert all(torch.equal(a, b) for a, b in zip(bank.state_dict().values(), copy.state_dict().values(), strict=True))


def moco(dtype):
    return MoCo(
        nn.Identity(), queue_size=8, embedding=D, temperature=0.1, momentum=0.9, sampler=nn.Identity(),
        miner=Cascade(stages=3, ratio=0.5, topk=2), generator=torch.Generator().manual_seed(0), bank_dtype=dtype,
    )  # fmt: skip


def moco_steps(model, first, last):
    losses = []
    for seed in range(first, last):
        query, key, mining = (rows(4, 10 * seed + part) for part in range(3))
        ids = torch.arange(4 * seed, 4 * seed + 4)
        step = model(query.requires_grad_(), key, mining, ids, ids, permutation_M=torch.arange(4), drop_own=False)
        model.enqueue([step], ids, ids)
        losses.append(step.loss)
    return torch.stack(losses)


def test_moco_with_a_bank_in_bf16_and_again_from_its_state():
    whole, other = moco(torch.bfloat16), moco(torch.bfloat16)
    expected = moco_steps(whole, 0, 6)
    begun = moco(torch.bfloat16)
    moco_steps(begun, 0, 3)
    other.load_state_dict(load(save(begun.state_dict())))
    assert torch.equal(moco_steps(other, 3, 6), expected[3:])
    near = moco_steps(moco(torch.float32), 0, 6)
    torch.testing.assert_close(expected[:2], near[:2], rtol=0.02, atol=0.02)
    assert not torch.equal(expected, near)


def test_iic_with_banks_in_bf16():
    videos = torch.arange(6)
    iic = IIC(
        nn.Identity(), source_V=videos, embedding=D, temperature=0.5, momentum=0.5, intra_negative="none",
        miner=Cascade(stages=1, ratio=0.5, topk=1), generator=torch.Generator().manual_seed(0), bank_dtype=torch.bfloat16,
    )  # fmt: skip
    iic.updated_V[:] = True
    column = torch.stack([videos[:4], videos[2:]], dim=1)
    step = iic(rows(4, 0).requires_grad_(), rows(4, 1), column, mining=True)
    expected = (rows(4, 0)[:, None] * iic.second_VD[column].float()).sum(2) / 0.5
    torch.testing.assert_close(step.logits_NL[0][:, :2].detach(), expected)
    step.loss.backward()
    before = iic.first_VD.clone()
    iic.update([step], videos[:4])
    moved = normalize(0.5 * before[:4].float() + 0.5 * rows(4, 0))
    assert torch.equal(iic.first_VD[:4], moved.bfloat16())
    assert torch.equal(iic.first_VD[4:], before[4:])


def test_moving_rows_computes_in_the_features_precision():
    bank, feature = rows(3, 0).bfloat16(), rows(2, 1)
    expected = normalize(0.3 * bank[[0, 2]].float() + 0.7 * feature).bfloat16()
    move_rows(bank, torch.tensor([0, 2]), feature, 0.3)
    assert torch.equal(bank[[0, 2]], expected)
