"""Golden checks of IIC: losses, gradients and banks over several steps; its views and intra-negatives."""

import torch
from torch import nn
from torch.testing import assert_close

from cprspec.learning.iic import IIC
from cprspec.learning.intra import repeat_frame, swap_quarters
from cprspec.video.normalise import residual


class Given(nn.Module):
    """An encoder that gives the features it is told to, one after the other: view 1, view 2, intra-negative."""

    def __init__(self):
        super().__init__()
        self.features = []

    def forward(self, clip_N):
        return self.features.pop(0)


def check_nce(golden):
    facts = golden.facts
    encoder = Given()
    model = IIC(
        encoder, source_V=torch.arange(facts["N"]), embedding=facts["D"], temperature=facts["T"],
        momentum=facts["momentum"], intra_negative="repeat" if facts["intra_neg"] else "none",
        loss="softmax" if facts["softmax"] else "constant_z",
    )  # fmt: skip
    banks = {"l": model.first_VD, "ab": model.second_VD} | ({"neg": model.intra_VD} if facts["intra_neg"] else {})
    for name, bank in banks.items():
        bank.copy_(golden[f"init.memory_{name}"])
    clip = torch.zeros(facts["B"], 3, 4, 2, 2)
    how = torch.zeros(facts["B"], 2, dtype=torch.int64)
    for s in range(facts["steps"]):
        first, second = (golden[f"in.{name}"][s].clone().requires_grad_() for name in ("l", "ab"))
        encoder.features = [first, second, *([golden["in.neg"][s]] if facts["intra_neg"] else [])]
        columns = golden["in.idx"][s]
        assert torch.equal(columns[:, 0], golden["in.y"][s])
        step = model(clip, clip, columns, intra_N2=how)
        step.loss.backward()
        for logits, z, name in zip(step.logits_NL, model.log_z_2.exp(), ("l", "ab"), strict=True):
            # The published code puts out exp(logit) / Z where Z is constant.
            found = logits if facts["softmax"] else logits.exp() / z
            assert_close(found, golden[f"out.out_{name}"][s], rtol=1e-5, atol=1e-6)
        assert_close(step.loss, golden["out.loss_l"][s] + golden["out.loss_ab"][s], rtol=1e-5, atol=0)
        assert_close(first.grad, golden["out.grad_l"][s], rtol=1e-5, atol=1e-5)
        assert_close(second.grad, golden["out.grad_ab"][s], rtol=1e-5, atol=1e-5)
        if not facts["softmax"]:
            assert_close(model.log_z_2.exp(), golden["out.Z"][s], rtol=1e-5, atol=0)
        model.update([step], golden["in.y"][s])
        for name, bank in banks.items():
            assert_close(bank, golden[f"out.memory_{name}"][s], rtol=1e-5, atol=1e-6)


def check_views(golden):
    clip = golden["input"]
    assert torch.equal(residual(clip), golden["diff_pretrain"])
    assert torch.equal(residual(clip), golden["diff_retrieval"])
    assert torch.equal(residual(clip, rescale=False), golden["diff_finetune"])
    assert torch.equal(repeat_frame(clip, golden["repeat.frame"]), golden["repeat.output"])
    assert torch.equal(swap_quarters(clip, golden["shuffle.swap"]), golden["shuffle.output"])
