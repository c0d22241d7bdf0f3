"""Losses against their definitions, written out number by number."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cprspec.learning.losses import info_nce, log_of_sum, mean_of_logs, without_own_key


def softmax(row):
    total = sum(math.exp(x) for x in row)
    return [math.exp(x) / total for x in row]


@settings(max_examples=50, deadline=None)
@given(rows=st.integers(1, 4), columns=st.integers(1, 9), seed=st.integers(0, 2**20))
def test_definitions(rows, columns, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    positive = torch.rand(rows, columns, generator=generator) < 0.4
    positive[:, 0] |= ~positive.any(1)
    for n in range(rows):
        share = softmax(logits[n].tolist())
        chosen = [share[i] for i in range(columns) if positive[n, i]]
        assert log_of_sum(logits, positive)[n].item() == pytest.approx(-math.log(sum(chosen)))
        assert mean_of_logs(logits, positive)[n].item() == pytest.approx(
            -sum(math.log(s) for s in chosen) / len(chosen)
        )
        assert info_nce(logits)[n].item() == pytest.approx(-math.log(share[0]))


def test_one_positive_makes_all_three_the_same():
    logits = torch.randn(5, 9, dtype=torch.float64)
    own = torch.zeros(5, 9, dtype=torch.bool)
    own[:, 0] = True
    torch.testing.assert_close(log_of_sum(logits, own), info_nce(logits))
    torch.testing.assert_close(mean_of_logs(logits, own), info_nce(logits))


@pytest.mark.parametrize("loss", [log_of_sum, mean_of_logs])
def test_far_positives_stay_finite(loss):
    # The softmax of the positive is exp(-400), which float32 cannot hold.
    logits = torch.tensor([[-200.0, 200.0, 0.0]], requires_grad=True)
    value = loss(logits, torch.tensor([[True, False, False]]))
    value.sum().backward()
    assert value.item() == pytest.approx(400)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("loss", [log_of_sum, mean_of_logs])
def test_ignored_columns_take_no_part(loss):
    logits = torch.randn(4, 6, dtype=torch.float64)
    positive = torch.tensor([[True, False, True, False, False, False]] * 4)
    ignored = torch.tensor([False, False, False, True, False, True])
    masked = logits.masked_fill(ignored, -torch.inf).requires_grad_()
    value = loss(masked, positive)
    torch.testing.assert_close(value, loss(logits[:, ~ignored], positive[:, ~ignored]))
    value.sum().backward()
    assert torch.isfinite(masked.grad).all()
    assert (masked.grad[:, ignored] == 0).all()


@pytest.mark.parametrize("loss", [log_of_sum, mean_of_logs])
def test_gradients(loss):
    positive = torch.tensor([[True, False, True, True], [False, True, False, False]])
    logits = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: loss(x, positive), logits)


def test_own_key_is_dropped_only_beside_others():
    positive = torch.tensor([[True, False, False], [True, True, False], [True, True, True], [False, True, False]])
    dropped = without_own_key(positive)
    assert dropped.tolist() == [[True, False, False], [False, True, False], [False, True, True], [False, True, False]]
    assert positive[1, 0]
