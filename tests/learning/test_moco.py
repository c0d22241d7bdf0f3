"""Momentum contrast: who is positive, what is ignored, when mining starts, and what moves.

Numbers of the published loop are reproduced in tests/golden; here is what those vectors do not reach.
"""

import pytest
import torch
from gloo import on_ranks
from torch import nn
from torch.nn.functional import normalize
from torch.nn.parallel import DistributedDataParallel

from cprspec.errors import CprspecError
from cprspec.learning.cascade import Cascade, LabelPick
from cprspec.learning.moco import MoCo, own_key_accuracy, spread
from cprspec.models.heads import Encoder
from cprspec.models.tiny import Tiny

N, K, D = 4, 16, 8


def features(rows, seed):
    return torch.randn(rows, D, generator=torch.Generator().manual_seed(seed))


def identity_moco(**options):
    """MoCo without networks: a clip is its own embedding."""
    options = {"sampler": nn.Identity(), "miner": Cascade(stages=1, ratio=0.5, topk=2)} | options
    generator = torch.Generator().manual_seed(0)
    return MoCo(
        nn.Identity(), queue_size=K, embedding=D, temperature=0.1, momentum=0.9, generator=generator, **options
    )  # fmt: skip


def fill(model, sources, steps=K // N):
    """Enqueue `steps` batches; row k then holds video k of source `sources[k]`."""
    for s in range(steps):
        ids = torch.arange(s * N, (s + 1) * N)
        step = contrast(model, ids, sources[ids], seed=10 + s)
        model.enqueue([step], ids, sources[ids])


def contrast(model, video, source, seed=99, drop_own=False, **options):
    mining = features(N, seed + 200) if model.sampler is not None else None
    query = features(N, seed).requires_grad_()
    return model(
        query, features(N, seed + 100), mining, video, source,
        permutation_M=torch.arange(N), drop_own=drop_own, **options,
    )  # fmt: skip


SOURCES = torch.arange(K) // 3
NEW_VIDEO, NEW_SOURCE = torch.arange(100, 104), torch.tensor([0, 2, 77, 5])


def test_without_a_miner_siblings_are_ordinary_negatives():
    model = identity_moco(sampler=None, miner=None)
    fill(model, SOURCES)
    step = contrast(model, NEW_VIDEO, NEW_SOURCE, drop_own=True)
    assert step.positive_NL.sum() == N
    assert step.positive_NL[:, 0].all()
    assert step.mined is None
    assert not step.warm_up
    torch.testing.assert_close(step.loss, torch.nn.functional.cross_entropy(step.logits_NL, torch.zeros(N).long()))


def test_positives_from_the_definition():
    model = identity_moco()
    fill(model, SOURCES)
    step = contrast(model, NEW_VIDEO, NEW_SOURCE)
    kf = normalize(features(N, 299))
    for n in range(N):
        others = [k for k in range(K) if SOURCES[k] != NEW_SOURCE[n]]
        best = sorted(others, key=lambda k, n=n: -float(kf[n] @ model.bank.mining_KD[k]))[:2]
        siblings = [k for k in range(K) if SOURCES[k] == NEW_SOURCE[n]]
        assert step.mined.rows_NP[n].tolist() == best
        expected = {0} | {1 + k for k in best + siblings}
        assert set(step.positive_NL[n].nonzero().flatten().tolist()) == expected
        assert step.eligible_NK[n].nonzero().flatten().tolist() == others


def test_logits_are_cosines_over_temperature():
    model = identity_moco()
    fill(model, SOURCES)
    step = contrast(model, NEW_VIDEO, NEW_SOURCE)
    q, k = normalize(features(N, 99)), normalize(features(N, 199))
    for n in range(N):
        expected = [q[n] @ k[n], *(q[n] @ row for row in model.bank.key_KD)]
        torch.testing.assert_close(step.logits_NL[n], torch.stack(expected) / 0.1, rtol=1e-4, atol=1e-5)


def test_warm_up_counts_siblings_and_mines_nothing():
    model = identity_moco()
    assert model.warming_up
    fill(model, SOURCES, steps=3)
    step = contrast(model, NEW_VIDEO, NEW_SOURCE)
    assert step.warm_up
    assert step.mined is None
    # Rows 12 to 15 hold nothing yet; sources 0, 2 and 5 would have 3, 3 and 1 rows of 16.
    assert step.positive_NL.sum(1).tolist() == [4, 4, 1, 1]
    assert not step.eligible_NK[:, 12:].any()
    fill(model, SOURCES, steps=1)
    assert not model.warming_up


def test_ignored_siblings_are_in_neither_part_of_the_loss():
    model = identity_moco(siblings="ignore")
    fill(model, SOURCES)
    step = contrast(model, NEW_VIDEO, NEW_SOURCE)
    losses = []
    for n in range(N):
        columns = [0] + [1 + k for k in range(K) if SOURCES[k] != NEW_SOURCE[n]]
        chosen = [c for c in columns if step.positive_NL[n, c]]
        assert len(chosen) == 3
        losses.append(step.logits_NL[n, columns].logsumexp(0) - step.logits_NL[n, chosen].logsumexp(0))
    torch.testing.assert_close(step.loss, torch.stack(losses).mean())


def test_dropping_own_keys_changes_only_rows_with_others():
    model = identity_moco(miner=Cascade(stages=1, ratio=0.5, topk=0))
    fill(model, SOURCES)
    kept, dropped = (contrast(model, NEW_VIDEO, NEW_SOURCE, drop_own=drop) for drop in (False, True))
    assert torch.equal(kept.positive_NL, dropped.positive_NL)
    losses = []
    for n in range(N):
        siblings = [1 + k for k in range(K) if SOURCES[k] == NEW_SOURCE[n]] or [0]
        losses.append(dropped.logits_NL[n].logsumexp(0) - dropped.logits_NL[n, siblings].logsumexp(0))
    torch.testing.assert_close(dropped.loss, torch.stack(losses).mean())
    assert dropped.loss > kept.loss


def test_labels_without_a_sampler_are_all_positive_from_the_start():
    model = identity_moco(sampler=None, miner=LabelPick(topk=0), loss="mean_of_logs")
    fill(model, SOURCES, steps=2)
    allowed = torch.zeros(N, K, dtype=torch.bool)
    allowed[:, [0, 5, 12]] = True
    step = contrast(model, NEW_VIDEO, torch.tensor([0, 0, 77, 77]), allowed_NK=allowed)
    assert not step.warm_up
    # Row 12 holds nothing yet; rows 1 and 2 are of source 0, but of another class.
    assert all(set(row.nonzero().flatten().tolist()) == {0, 1, 6} for row in step.positive_NL)
    # A sibling of the class is positive, but it was not mined.
    assert [sorted(k for k in rows.tolist() if k >= 0) for rows in step.mined.rows_NP] == [[5], [5], [0, 5], [0, 5]]


def test_the_oracle_picks_among_allowed_rows_only():
    model = identity_moco(miner=LabelPick(topk=2))
    fill(model, SOURCES)
    allowed = torch.arange(K).expand(N, K) % 4 == 1
    step = contrast(model, NEW_VIDEO, NEW_SOURCE, allowed_NK=allowed, generator=torch.Generator().manual_seed(3))
    assert all(k % 4 == 1 and SOURCES[k] != NEW_SOURCE[n] for n in range(N) for k in step.mined.rows_NP[n].tolist())
    assert step.positive_NL.sum(1).tolist() == [6, 6, 3, 4]


def test_an_enqueue_takes_all_micro_batches_in_order():
    model = identity_moco()
    ids = torch.arange(2 * N)
    steps = [contrast(model, part, part, seed=s) for s, part in enumerate(ids.split(N))]
    assert model.bank.pointer == 0
    model.enqueue(steps, ids, ids // 2)
    assert model.bank.video_K[: 2 * N].tolist() == ids.tolist()
    assert model.bank.source_K[: 2 * N].tolist() == (ids // 2).tolist()
    torch.testing.assert_close(model.bank.key_KD[: 2 * N], normalize(torch.cat([features(N, 100), features(N, 101)])))
    torch.testing.assert_close(model.bank.mining_KD[N : 2 * N], normalize(features(N, 201)))


def small_moco(**options):
    torch.manual_seed(0)
    return MoCo(
        Encoder(Tiny(0.25), 32, D), queue_size=K, embedding=D, temperature=0.1, momentum=0.9,
        to_input=lambda clip: clip.float() / 255, mining_input=lambda clip: clip.float() / 255, **options,
    ).train()  # fmt: skip


def clips(seed, count=N):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 8, 16, 16), generator=generator, dtype=torch.uint8)


def test_gradients_reach_the_query_encoder_only():
    model = small_moco(sampler=Encoder(Tiny(0.25), 32, D), miner=Cascade(stages=3, ratio=0.5, topk=2))
    for module in model.sampler.modules():
        assert not module.training
    frozen = {k: v.clone() for k, v in model.sampler.state_dict().items()}
    ids = torch.arange(N)
    step = model(clips(1), clips(2), clips(3), ids, ids, permutation_M=torch.tensor([2, 0, 3, 1]), drop_own=False)
    step.loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.encoder_q.parameters())
    assert all(p.grad is None for part in (model.encoder_k, model.sampler) for p in part.parameters())
    assert all(torch.equal(value, frozen[key]) for key, value in model.sampler.state_dict().items())
    # The key encoder's batch norm has seen its own batch.
    assert not torch.equal(model.encoder_k[0].layers[1].running_mean, model.encoder_q[0].layers[1].running_mean)


def test_momentum_update_moves_parameters_and_no_statistics():
    model = small_moco()
    with torch.no_grad():
        for parameter in model.encoder_q.parameters():
            parameter.add_(1.0)
        model.encoder_q[0].layers[1].running_mean.add_(5.0)
    before = {k: v.clone() for k, v in model.encoder_k.state_dict().items()}
    model.momentum_update()
    names = dict(model.encoder_k.named_parameters())
    for key, value in model.encoder_k.state_dict().items():
        torch.testing.assert_close(value, before[key] + 0.1 if key in names else before[key])


def test_shuffling_undoes_itself_within_a_group_and_mixes_groups():
    order = torch.tensor([3, 0, 2, 1])
    ids = torch.arange(N)
    keys = {}
    for groups in (1, 2):
        for name, permutation in (("plain", ids), ("shuffled", order)):
            step = small_moco(bn_groups=groups)(
                clips(1), clips(2), None, ids, ids, permutation_M=permutation, drop_own=False
            )
            keys[groups, name] = step.key_ND
    torch.testing.assert_close(keys[1, "plain"], keys[1, "shuffled"], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(keys[2, "plain"], keys[2, "shuffled"], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(keys[1, "plain"], keys[2, "plain"], rtol=1e-3, atol=1e-4)


def test_bfloat16_stops_at_the_features():
    model = small_moco(
        sampler=Encoder(Tiny(0.25), 32, D), miner=Cascade(stages=1, ratio=1, topk=1), autocast=torch.bfloat16
    )
    ids = torch.arange(N)
    seen = []
    model.encoder_q[4].register_forward_hook(lambda *a: seen.append(a[-1].dtype))
    step = model(clips(1), clips(2), clips(3), ids, ids, permutation_M=ids, drop_own=False)
    step.loss.backward()
    assert seen == [torch.bfloat16]
    numbers = (step.loss, step.logits_NL, step.query_ND, step.key_ND, step.mining_ND, model.encoder_q[4].weight.grad)
    assert {x.dtype for x in numbers} == {torch.float32}
    torch.testing.assert_close(step.query_ND.norm(dim=1), torch.ones(N))


def ranks_trace(me, world, accumulate):
    """Three optimiser steps of 8 clips in `accumulate` micro-batches, on one rank or on all."""
    torch.manual_seed(1)
    model = small_moco(sampler=Encoder(Tiny(0.25), 32, D), miner=Cascade(stages=3, ratio=0.6, topk=2), bn_groups=2)
    # In float64, since batch norm over two clips magnifies rounding.
    model = model.double()
    model.to_input = model.mining_input = lambda clip: clip.double() / 255
    parallel = DistributedDataParallel(model, broadcast_buffers=False) if world > 1 else model
    optimizer = torch.optim.SGD(model.encoder_q.parameters(), lr=0.05)
    losses = []
    for s in range(4):
        model.momentum_update()
        optimizer.zero_grad()
        warm_up, steps, ids = model.warming_up, [], []
        for micro in range(accumulate):
            count = 8 // accumulate
            order = torch.randperm(count, generator=torch.Generator().manual_seed(s * 10 + micro))
            mine = slice(me * count // world, (me + 1) * count // world)
            video = (torch.arange(count) + 8 * s + micro * count)[mine]
            views = [clips(s * 100 + micro * 10 + i, count)[mine] for i in range(3)]
            step = parallel(*views, video, video // 2, permutation_M=order, drop_own=True)
            if not warm_up:
                (step.loss / accumulate).backward()
            steps.append(step)
            ids.append(video)
            losses.append(step.loss.detach())
        model.enqueue(steps, torch.cat(ids), torch.cat(ids) // 2)
        if not warm_up:
            optimizer.step()
    state = {k: v.clone() for k, v in model.state_dict().items() if not k.startswith("sampler")}
    return {"loss": torch.stack(losses), "state": state}


def test_two_processes_equal_one_with_two_groups():
    # With two micro-batches; with one the traces in tests/golden cover it.
    one = ranks_trace(0, 1, 2)
    two = on_ranks(2, ranks_trace, 2, 2)
    torch.testing.assert_close(torch.stack([r["loss"] for r in two]).mean(0), one["loss"], rtol=1e-9, atol=1e-9)
    assert one["state"]["bank.video_K"].tolist() == [*range(16, 32)]
    for key, value in one["state"].items():
        torch.testing.assert_close(two[0]["state"][key], value, rtol=1e-8, atol=1e-9, msg=lambda m, k=key: f"{k}: {m}")
    for key, value in two[0]["state"].items():
        if "running" not in key:
            torch.testing.assert_close(two[1]["state"][key], value, rtol=0, atol=0)


def test_groups_that_processes_cannot_share_are_refused(monkeypatch):
    monkeypatch.setattr("cprspec.learning.moco.world_size", lambda: 2)
    with pytest.raises(CprspecError, match="bn_groups = 3 cannot be shared by 2 processes"):
        identity_moco(bn_groups=3)
    assert [identity_moco(bn_groups=n).groups for n in (1, 2, 4)] == [1, 1, 2]


def test_a_mining_phase_needs_the_mining_clip():
    ids = torch.arange(N)
    with pytest.raises(CprspecError, match="needs that view"):
        identity_moco()(features(N, 0), features(N, 1), None, ids, ids, permutation_M=ids, drop_own=False)


def test_measures_for_the_log():
    model = identity_moco()
    fill(model, SOURCES)
    ids = torch.arange(N)
    same = features(N, 5)
    step = model(same, same, same, ids, ids, permutation_M=ids, drop_own=False)
    assert own_key_accuracy(step.logits_NL).item() == 1
    other = model(same, -same, same, ids, ids, permutation_M=ids, drop_own=False)
    assert own_key_accuracy(other.logits_NL).item() == 0
    assert spread(torch.ones(6, 4) / 2).item() == 0
    wide = normalize(torch.randn(4000, 32, generator=torch.Generator().manual_seed(0)))
    assert spread(wide).item() == pytest.approx(1, abs=0.02)
