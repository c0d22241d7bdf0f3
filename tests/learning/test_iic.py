"""IIC against slow references written from the definition (PROTOCOL 0.4, 3, 4.2), and its banks on several ranks."""

import math

import pytest
import torch
from gloo import on_ranks
from torch import nn
from torch.nn.functional import normalize
from torch.testing import assert_close

from cprspec.errors import CprspecError
from cprspec.learning.cascade import Cascade, LabelPick
from cprspec.learning.iic import IIC, move_rows
from cprspec.learning.intra import repeat_frame, swap_quarters
from cprspec.models.heads import Encoder

VIDEOS, D, K, T = 12, 6, 5, 0.5
SOURCE_V = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5])


class Given(nn.Module):
    """An encoder that gives the features it is told to: view 1, view 2, intra-negative."""

    def __init__(self, features):
        super().__init__()
        self.features = list(features)

    def forward(self, clip_N):
        return self.features.pop(0)


def features(n, seed=0):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(n, D, generator=g) * 3 for _ in range(3)]


def columns(own, seed=1):
    g = torch.Generator().manual_seed(seed)
    drawn = torch.randint(VIDEOS, (len(own), K), generator=g)
    return torch.cat([own[:, None], drawn], dim=1)


def model(given, **options):
    facts = {"source_V": SOURCE_V, "embedding": D, "temperature": T, "momentum": 0.5} | options
    return IIC(Given(given), generator=torch.Generator().manual_seed(5), **facts)


def step_of(iic, own, column_NC, **options):
    clip = torch.zeros(len(own), 3, 4, 2, 2)
    how = torch.zeros(len(own), 2, dtype=torch.int64)
    return iic(clip, clip, column_NC, intra_N2=how, **options)


def slow_columns(iic, d, feature, column_C, mined=()):
    """The columns of one clip as (bank row or None for an intra-negative, logit), and which are positive."""
    other = [iic.second_VD, iic.first_VD][d]
    found = [(v, other[v] @ feature / T) for v in column_C.tolist()]
    if iic.intra_VD is not None:
        found += [(None, iic.intra_VD[v] @ feature / T) for v in column_C.tolist()]
    found += [(v, other[v] @ feature / T) for v in mined if v not in column_C.tolist()]
    positive = [i == 0 or (v is not None and v in mined) for i, (v, _) in enumerate(found)]
    return [logit for _, logit in found], positive


@pytest.mark.parametrize("intra", ["repeat", "shuffle", "none"])
def test_loss_is_the_softmax_of_the_own_row_in_both_views(intra):
    own = torch.tensor([3, 7, 8])
    first, second, negative = features(3)
    iic = model([first, second, negative], intra_negative=intra)
    column_NC = columns(own)
    step = step_of(iic, own, column_NC)
    expected = torch.zeros(())
    for d, feature_ND in enumerate((first, second)):
        for n in range(3):
            logits, _ = slow_columns(iic, d, feature_ND[n], column_NC[n])
            assert_close(step.logits_NL[d][n], torch.stack(logits))
            expected = expected - torch.log_softmax(torch.stack(logits), 0)[0] / 3
    assert_close(step.loss, expected)
    assert step.mined is None


def test_mined_rows_are_columns_and_positives_once():
    own = torch.tensor([3, 7, 8])
    given = features(3)
    iic = model(given, miner=Cascade(stages=1, ratio=0.5, topk=4))
    iic.updated_V[:] = True
    iic.updated_V[[0, 5]] = False
    column_NC = columns(own)
    step = step_of(iic, own, column_NC, mining=True)
    drawn_and_mined, expected = 0, torch.zeros(())
    for d, feature_ND in enumerate(given[:2]):
        other_view, other_bank = given[1 - d], [iic.second_VD, iic.first_VD][d]
        for n in range(3):
            allowed = [v for v in range(VIDEOS) if iic.updated_V[v] and SOURCE_V[v] != SOURCE_V[own[n]]]
            # One stage: the best rows of the other view's bank by the other view's feature.
            by_score = sorted(allowed, key=lambda v, n=n, a=other_view, b=other_bank: -float(b[v] @ a[n]))
            assert step.mined[d].rows_NP[n].tolist() == by_score[:4]
            logits, positive = slow_columns(iic, d, feature_ND[n], column_NC[n], by_score[:4])
            drawn_and_mined += sum(positive) > 1 + (len(logits) - 2 * (K + 1))
            p = torch.softmax(torch.stack(logits), 0)
            expected = expected - p[torch.tensor(positive)].sum().log() / 3
    assert drawn_and_mined, "the case of a mined row that was drawn anyway did not occur"
    assert_close(step.loss, expected)


def test_a_cascade_looks_with_the_other_view_first_and_with_its_own_in_between():
    own = torch.tensor([3])
    given = features(1)
    seen = []

    def miner(main_ND, aux_ND, bank_main, bank_aux, eligible, *, generator=None):
        seen.append((main_ND, aux_ND, bank_main, bank_aux))
        return Cascade(stages=1, ratio=0.5, topk=1)(main_ND, aux_ND, bank_main, bank_aux, eligible)

    iic = model(given, miner=miner)
    iic.updated_V[:] = True
    step_of(iic, own, columns(own), mining=True)
    first, second = normalize(given[0]), normalize(given[1])
    for found, expected in zip(
        seen, [(second, first, iic.second_VD, iic.first_VD), (first, second, iic.first_VD, iic.second_VD)], strict=True
    ):
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_nothing_is_mined_before_it_may_be_or_among_rows_never_updated():
    own = torch.tensor([3, 7])
    iic = model([*features(2), *features(2)], miner=Cascade(stages=1, ratio=0.5, topk=2))
    assert step_of(iic, own, columns(own)).mined is None
    step = step_of(iic, own, columns(own), mining=True)
    assert all((mined.rows_NP == -1).all() for mined in step.mined)
    assert_close(step.loss, step_of(model(features(2)), own, columns(own)).loss)


def test_a_label_miner_sees_what_it_is_allowed():
    own = torch.tensor([3, 7])
    iic = model(features(2), miner=LabelPick(topk=0))
    iic.updated_V[:] = True
    allowed = torch.zeros(2, VIDEOS, dtype=torch.bool)
    allowed[0, [0, 2, 9]] = True
    step = step_of(iic, own, columns(own), mining=True, allowed_NV=allowed)
    rows = step.mined[0].rows_NP
    assert [sorted(v for v in row.tolist() if v >= 0) for row in rows] == [[0, 9], []]  # 2 is a sibling of 3


def test_constant_z_is_noise_contrastive_estimation():
    own = torch.tensor([3, 7])
    iic = model([*features(2), *features(2, seed=9)], loss="constant_z")
    column_NC = columns(own)
    for call in range(2):
        given = [f.double() for f in iic.encoder.features[:3]]
        step = step_of(iic, own, column_NC)
        expected = 0.0
        for d in range(2):
            rows = [torch.stack(slow_columns(iic, d, given[d][n].float(), column_NC[n])[0]).double() for n in range(2)]
            if call == 0:
                constant = VIDEOS * torch.cat(rows).exp().mean()
                assert_close(iic.log_z_2[d].double().exp(), constant, rtol=1e-5, atol=0)
            c = (len(rows[0]) - 1) / VIDEOS
            for row in rows:
                p = row.exp() / iic.log_z_2[d].double().exp()
                losses = -(c / (p + c + 1e-7)).log()
                losses[0] = -(p[0] / (p[0] + c + 1e-7)).log()
                expected += float(losses.sum()) / 2
        assert float(step.loss) == pytest.approx(expected, rel=1e-5)


def test_constant_z_survives_features_whose_exponential_is_infinite():
    own = torch.tensor([3, 7])
    iic = model([f * 400 for f in features(2)], loss="constant_z")
    assert step_of(iic, own, columns(own)).loss.isfinite()


def test_update_moves_the_rows_of_the_batch_and_gradient_reaches_both_views_only():
    own = torch.tensor([3, 7])
    given = [f.requires_grad_() for f in features(2)]
    iic = model(given)
    before = [bank.clone() for bank in (iic.first_VD, iic.second_VD, iic.intra_VD)]
    step = step_of(iic, own, columns(own))
    step.loss.backward()
    assert given[0].grad is not None and given[1].grad is not None and given[2].grad is None
    iic.update([step], own)
    for old, new, feature in zip(before, (iic.first_VD, iic.second_VD, iic.intra_VD), given, strict=True):
        for v in range(VIDEOS):
            moved = 0.5 * old[v] + 0.5 * feature[own.tolist().index(v)] if v in own else None
            assert_close(new[v], old[v] if moved is None else moved / moved.norm())
    assert iic.updated_V.nonzero().flatten().tolist() == own.tolist()


def test_of_a_video_that_is_there_twice_the_last_clip_counts_with_any_threads():
    """A video may stand for one that cannot be read. Rows are so many that torch shares them out among threads."""
    generator, threads = torch.Generator().manual_seed(0), torch.get_num_threads()
    before, feature_MD = torch.randn(400, 1024, generator=generator), torch.randn(256, 1024, generator=generator)
    row_M = torch.randperm(400, generator=generator)[:128].repeat(2)
    expected = before.clone()
    expected[row_M[128:]] = normalize(0.5 * before[row_M[128:]] + 0.5 * feature_MD[128:])
    torch.set_num_threads(4)
    try:
        for _ in range(20):
            bank_VD = before.clone()
            move_rows(bank_VD, row_M, feature_MD, 0.5)
            assert torch.equal(bank_VD, expected)
    finally:
        torch.set_num_threads(threads)


def test_banks_begin_uniform_with_norms_about_one():
    iic = IIC(Given([]), source_V=torch.zeros(400), embedding=512, temperature=T, momentum=0.5)
    norms = iic.first_VD.norm(dim=1)
    assert norms.mean().item() == pytest.approx(1, abs=0.01)
    assert iic.first_VD.abs().max() <= math.sqrt(3 / 512)
    assert not torch.equal(iic.first_VD, iic.second_VD)


def test_groups_that_ranks_cannot_share_are_an_error(monkeypatch):
    monkeypatch.setattr("cprspec.learning.iic.world_size", lambda: 2)
    with pytest.raises(CprspecError, match="cannot be shared by 2 processes"):
        model([], bn_groups=3)


def test_intra_negatives_by_definition():
    clip = torch.randn(3, 2, 8, 3, 3)
    frame = torch.tensor([0, 5, 7])
    repeated = repeat_frame(clip, frame)
    assert repeated.shape == clip.shape
    for n, f in enumerate(frame.tolist()):
        assert all(torch.equal(repeated[n, :, t], clip[n, :, f]) for t in range(8))
    swapped = swap_quarters(clip, torch.tensor([[0, 3], [2, 1], [1, 3]]))
    for n, order in enumerate([[3, 1, 2, 0], [0, 2, 1, 3], [0, 3, 2, 1]]):
        expected = torch.cat([clip[n, :, 2 * q : 2 * q + 2] for q in order], dim=1)
        assert torch.equal(swapped[n], expected)
    with pytest.raises(ValueError, match="no four equal quarters"):
        swap_quarters(clip[:, :, :6], torch.zeros(3, 2, dtype=torch.int64))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(3, D, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm3d(D)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


def trained(rank, world, loss="softmax", mining=True):
    """Three steps of 4 clips over all ranks, with 2 normalisation groups over all: loss, banks, weights."""
    torch.manual_seed(0)
    iic = IIC(
        Encoder(Net(), D, 0), source_V=SOURCE_V, embedding=D, temperature=T, momentum=0.5, bn_groups=2, loss=loss,
        miner=Cascade(stages=3, ratio=0.5, topk=2) if mining else None, generator=torch.Generator().manual_seed(5),
    )  # fmt: skip
    parallel = nn.parallel.DistributedDataParallel(iic, broadcast_buffers=False) if world > 1 else iic
    optimizer = torch.optim.SGD(iic.parameters(), lr=0.1)
    g = torch.Generator().manual_seed(1)
    losses = []
    for s in range(3):
        own_M = torch.arange(4) + 4 * s
        first_M, second_M = (torch.randn(4, 3, 4, 4, 4, generator=g) for _ in range(2))
        column_MC = torch.cat([own_M[:, None], torch.randint(VIDEOS, (4, K), generator=g)], dim=1)
        how_M2 = torch.randint(4, (4, 1), generator=g).repeat(1, 2)
        mine = slice(rank * 4 // world, (rank + 1) * 4 // world)
        optimizer.zero_grad()
        step = parallel(first_M[mine], second_M[mine], column_MC[mine], intra_N2=how_M2[mine], mining=mining and s > 0)
        step.loss.backward()
        optimizer.step()
        iic.update([step], own_M[mine])
        losses.append(step.loss.detach())
    state = {k: v for k, v in iic.state_dict().items() if "running" not in k and "batches" not in k}
    return {"loss": torch.stack(losses), **state}


@pytest.mark.parametrize(("loss", "mining"), [("softmax", True), ("constant_z", False)])
def test_two_ranks_have_the_same_banks_and_equal_one_rank(loss, mining):
    alone = trained(0, 1, loss, mining)
    ranks = on_ranks(2, trained, 2, loss, mining)
    for name in alone:
        if name != "loss":
            assert torch.equal(ranks[0][name], ranks[1][name]), name
            assert_close(ranks[0][name], alone[name], rtol=1e-4, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")
    assert_close((ranks[0]["loss"] + ranks[1]["loss"]) / 2, alone["loss"], rtol=1e-4, atol=1e-5)
