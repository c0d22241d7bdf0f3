"""Golden checks of mining and losses."""

import torch
from torch.testing import assert_close

from cprspec.learning.cascade import Cascade
from cprspec.learning.losses import info_nce, log_of_sum, mean_of_logs, without_own_key


def check_cascade(golden):
    options = {key: golden.facts[key] for key in ("stages", "ratio", "topk")}
    main, aux, bank_main, bank_aux = (golden[k] for k in ("anchor_main", "anchor_aux", "bank_main", "bank_aux"))
    sibling = golden["sibling_mask"]
    mined = Cascade(**options)(main, aux, bank_main, bank_aux, ~sibling)
    scores = main @ bank_main.T
    if any(golden.facts["masked_surviving_per_stage"]):
        # The published code lets siblings back in here; ours keeps them out: the best topk others by the main view.
        assert options["ratio"] == 1
        expected = scores.masked_fill(sibling, -torch.inf).topk(options["topk"])
        assert torch.equal(mined.rows_NP, expected.indices)
        assert not torch.equal(mined.rows_NP, golden["selected"])
        return
    assert [kept.shape[1] for kept in mined.survivors] == golden["stage_sizes"].tolist()
    for stage, kept in enumerate(mined.survivors, start=1):
        assert torch.equal(kept.sort().values, golden[f"stage{stage}_index"].sort().values), f"stage {stage}"
    assert torch.equal(mined.rows_NP, golden["selected"])
    assert_close(scores.gather(1, mined.rows_NP), golden["selected_score"], atol=1e-5, rtol=0)


def check_topk(golden):
    sibling = golden["vsource"][:, None] == golden["queue_vname"]
    assert torch.equal(sibling, golden["sibling_mask"])
    miner = Cascade(stages=1, ratio=0.5, topk=golden.facts["topk"])
    mined = miner(golden["kf"], golden["q"], golden["queue_second"], golden["queue"], ~sibling)
    assert torch.equal(mined.rows_NP, golden["selected"])
    positive = torch.cat([torch.ones_like(sibling[:, :1]), sibling], dim=1).scatter(1, mined.rows_NP + 1, True)
    assert torch.equal(positive, golden["positive_mask"])
    own = (golden["q"] * golden["k"]).sum(1, keepdim=True)
    logits = torch.cat([own, golden["q"] @ golden["queue"].T], dim=1) / golden.facts["T"]
    assert_close(logits, golden["logits"], atol=2e-5, rtol=0)


def check_losses(golden):
    keep, drop = golden["mask"], without_own_key(golden["mask"])
    assert torch.equal(keep, golden["multi_nce.mask_keep"])
    assert torch.equal(drop, golden["multi_nce.mask_drop"])
    _loss(golden, lambda x: log_of_sum(x, keep), "multi_nce.loss_keep", "multi_nce.grad_keep", "multi_nce.rowloss_keep")
    _loss(golden, lambda x: log_of_sum(x, drop), "multi_nce.loss_drop", "multi_nce.grad_drop", "multi_nce.rowloss_drop")
    _loss(golden, lambda x: mean_of_logs(x, keep), "ubernce.loss", "ubernce.grad")
    _loss(golden, info_nce, "infonce.loss", "infonce.grad")


def _loss(golden, function, loss_key, grad_key, rows_key=None):
    logits = golden["logits"].clone().requires_grad_()
    rows = function(logits)
    rows.mean().backward()
    assert_close(rows.mean(), golden[loss_key], atol=1e-5, rtol=0)
    assert_close(logits.grad, golden[grad_key], atol=1e-6, rtol=0)
    if rows_key:
        assert_close(rows, golden[rows_key], atol=1e-5, rtol=0)
