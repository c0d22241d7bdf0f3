"""Top-k, accuracy per class and confusion against loops that follow their definitions; what joins windows and crops."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from cprspec.components.evaluators import Classifier, Linear
from cprspec.errors import CprspecError
from cprspec.evaluation.crops import over_crops
from cprspec.evaluation.linear import probabilities, train_head
from cprspec.evaluation.recognition import facts_of, judge


@settings(max_examples=60, deadline=None)
@given(videos=st.integers(1, 12), classes=st.integers(2, 7), ties=st.booleans(), seed=st.integers(0, 2**20))
def test_judging(videos, classes, ties, seed):
    generator = torch.Generator().manual_seed(seed)
    said = torch.rand(videos, classes, generator=generator)
    said = (said * 3).round() if ties else said
    label = torch.randint(0, classes, (videos,), generator=generator)
    # Among equals the true class stands last.
    rankings = [
        sorted(range(classes), key=lambda c, v=v: (-said[v, c].item(), c == label[v].item())) for v in range(videos)
    ]
    found = judge(said, label)
    for k in (1, 5):
        assert found.top[k] == pytest.approx(sum(label[v] in rankings[v][:k] for v in range(videos)) / videos)
    for c in range(classes):
        own = [v for v in range(videos) if label[v] == c]
        expected = sum(rankings[v][0] == c for v in own) / len(own) if own else math.nan
        assert found.per_class[c] == pytest.approx(expected, nan_ok=True)
        assert found.confusion_CC[c].sum() == len(own)
    assert found.confusion_CC.diag().sum() / videos == pytest.approx(found.top[1])


def test_who_knows_nothing_gains_nothing():
    label = torch.tensor([0, 1, 2])
    assert judge(torch.full((3, 3), 1 / 3), label).top == {1: 0, 5: 1}
    assert judge(torch.full((3, 9), math.nan), label).top == {1: 0, 5: 0}


def test_facts_name_every_encoder():
    said = torch.tensor([[0.7, 0.3], [0.6, 0.4]])
    facts = facts_of({"a": said, "a+b": said.flip(1)}, torch.tensor([0, 1]), ["jump", "run"], {"protocol": "p"})
    assert [(r["encoder"], r["metric"], r["value"]) for r in facts["records"]] == [
        ("a", "top1", 0.5), ("a", "top5", 1.0), ("a+b", "top1", 0.5), ("a+b", "top5", 1.0),
    ]  # fmt: skip
    assert all(r["n"] == 2 and r["protocol"] == "p" for r in facts["records"])
    assert facts["per_class"]["a"] == {"jump": 1.0, "run": 0.0}
    assert facts["confusion"] == {
        "classes": ["jump", "run"],
        "counts": {"a": [[1, 0], [1, 0]], "a+b": [[0, 1], [0, 1]]},
    }


def test_crops_are_averaged_as_probabilities_or_as_scores():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(3, 4, 5, generator=generator)  # crops, videos, classes
    assert_close(over_crops(list(scores.softmax(2)), Classifier()), scores.softmax(2).mean(0))
    assert_close(over_crops(list(scores), Classifier(mean_of="scores")), scores.mean(0).softmax(1))


def clusters(generator, each=40, classes=4, size=6):
    """Features around a centre for each class, and their labels."""
    label = torch.arange(classes).repeat_interleave(each)
    centre = torch.randn(classes, size, generator=torch.Generator().manual_seed(9))
    return centre[label] + 0.3 * torch.randn(len(label), size, generator=generator), label


def test_a_linear_probe_learns_what_is_linear():
    train, label = clusters(torch.Generator().manual_seed(1))
    test, truth = clusters(torch.Generator().manual_seed(2))
    heard = []
    head = train_head(train, label, 4, Linear(), seed=0, heard=lambda *news: heard.append(news))
    said = probabilities(head, test)
    assert judge(said, truth).top[1] > 0.95
    assert_close(said.sum(1), torch.ones(len(test)))
    assert [epoch for epoch, _ in heard] == [*range(100)]
    assert heard[-1][1] < heard[0][1]


def test_a_linear_probe_is_the_same_again_and_leaves_global_random_numbers_alone():
    train, label = clusters(torch.Generator().manual_seed(1))
    before = torch.get_rng_state()
    heads = [train_head(train, label, 4, Linear(epochs=5, milestones=(3,), batch_size=50), seed=s) for s in (0, 0, 1)]
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(heads[0].linear.weight, heads[1].linear.weight)
    assert not torch.equal(heads[0].linear.weight, heads[2].linear.weight)


def test_a_linear_probe_on_equal_parts_is_sgd_by_hand():
    """Two steps an epoch on 5 videos, without normalisation: momentum, decay and milestones written out."""
    generator = torch.Generator().manual_seed(3)
    feature, label = torch.randn(5, 3, generator=generator), torch.tensor([0, 1, 1, 0, 1])
    options = Linear(l2=False, batch_norm=False, epochs=3, batch_size=3, lr=0.5, milestones=(2,))
    found = train_head(feature, label, 2, options, seed=7)
    from cprspec.evaluation.linear import ORDER
    from cprspec.models.heads import ClassHead
    from cprspec.video.sampling import generator as numbers

    weights = [p.detach().clone().requires_grad_() for p in ClassHead(3, 2, seed=7).parameters()]
    speed = [torch.zeros_like(w) for w in weights]
    for epoch in range(3):
        order = numbers(7, ORDER, epoch).permutation(5).tolist()
        for rows in (order[:3], order[3:]):
            scores = feature[rows] @ weights[0].T + weights[1]
            loss = -scores.log_softmax(1)[range(len(rows)), label[rows]].mean()
            gradients = torch.autograd.grad(loss, weights)
            for i, gradient in enumerate(gradients):
                speed[i] = 0.9 * speed[i] + gradient + 1e-3 * weights[i].detach()
                weights[i] = (weights[i].detach() - (0.05 if epoch == 2 else 0.5) * speed[i]).requires_grad_()
    assert_close(found.linear.weight, weights[0])
    assert_close(found.linear.bias, weights[1])


@pytest.mark.parametrize("batch_size", [2, 3, 4])
@pytest.mark.parametrize("videos", range(2, 12))
def test_no_video_is_alone_where_batch_norm_needs_company(monkeypatch, videos, batch_size):
    parts = []
    step = torch.nn.functional.cross_entropy
    monkeypatch.setattr("cprspec.evaluation.linear.cross_entropy", lambda s, y: parts.append(len(y)) or step(s, y))
    feature, label = torch.randn(videos, 3), torch.arange(videos) % 2
    for batch_norm in (True, False):
        parts.clear()
        train_head(feature, label, 2, Linear(epochs=1, batch_size=batch_size, batch_norm=batch_norm), seed=0)
        assert sum(parts) == videos
        assert max(parts) <= (max(3, batch_size) if batch_norm else batch_size)
        assert min(parts) >= (2 if batch_norm else 1)


def test_too_little_to_probe():
    with pytest.raises(CprspecError, match="two labelled training videos"):
        train_head(torch.zeros(1, 3), torch.zeros(1, dtype=torch.int64), 2, Linear(), seed=0)
    with pytest.raises(CprspecError, match="not finite"):
        train_head(torch.full((4, 3), math.nan), torch.tensor([0, 1, 0, 1]), 2, Linear(), seed=0)
