"""A whole CPR step of the product against the same step written plainly over torchvision's S3D.

    python benchmarks/step_speed.py [ROUNDS]

4 clips [3,16,112,112] as bytes: query forward and backward, key, sampler, cascade of 7 stages in a full bank of 2,048, loss,
momentum, Adam, bank. The product's step is that of the loop (training/loop.py): ledger, recording and checks are in it. The
plain one has float32 in torch's own memory layout and mines as the published code does (cascade_speed.py). One thread, CPU
time, interleaved.

First it is checked that they are the same step: in float64, on smaller clips, losses of several steps with their updates; then
the first loss of the measured ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from copy import deepcopy

import torch
from cascade_speed import as_published
from measuring import has_bf16, interleaved, say_bf16, table
from phases import experiment
from torch import Tensor, nn
from torch.nn.functional import normalize
from torchvision.models.video import s3d

from cprspec.learning.moco import MoCo
from cprspec.learning.ranks import keep_freed_memory
from cprspec.models.encoders import build_encoder
from cprspec.spec.schema import Resolved
from cprspec.training.trial import Noise, Trial, trial
from cprspec.video.normalise import MEAN, STD

AS_PUBLISHED = (
    "framework.queue_size=2048", "framework.drop_own_key=1.0", "miner.stages=7", "miner.ratio=0.5", "miner.topk=5",
)  # fmt: skip

VIDEOS = 9537
"""Training videos of UCF101."""

CHECKED = 3
"""Steps whose losses are compared in float64."""


class Plain:
    """The step by the paper's definitions (PROTOCOL 4 and 5), with the weights and the bank of `ours`.

    `sampler` is the mining view's encoder before batch norm was folded into its convolutions.
    """

    def __init__(self, ours: MoCo, sampler: nn.Module, lr: float, weight_decay: float) -> None:
        self.query, self.key, self.sampler = (plain_encoder(net) for net in (ours.encoder_q, ours.encoder_k, sampler))
        self.sampler.eval()
        bank = ours.bank
        self.key_DK, self.mining_DK = bank.key_KD.T.contiguous(), bank.mining_KD.T.contiguous()
        self.source_K, self.pointer = bank.source_K.clone(), 0
        self.momentum, self.temperature, self.topk, self.ratio, self.stages = 0.999, 0.07, 5, 0.5, 7
        self.optimizer = torch.optim.Adam(self.query.parameters(), lr=lr, weight_decay=weight_decay)

    def step(self, rgb: Tensor, mining: Tensor, source_N: Tensor) -> float:
        """One optimiser step on clips `[N,2,T,H,W,3]` as bytes; its loss."""
        with torch.no_grad():
            for k, q in zip(self.key.parameters(), self.query.parameters(), strict=True):
                k.data = k.data * self.momentum + q.data * (1 - self.momentum)
        query_ND = embed(self.query, self.floats(rgb[:, 0]))
        with torch.no_grad():
            order = torch.randperm(len(rgb))
            key_ND = embed(self.key, self.floats(rgb[:, 1])[order])[order.argsort()]
            mining_ND = embed(self.sampler, self.floats(mining[:, 1]))
        logits_NL = (
            torch.cat([(query_ND * key_ND).sum(1, keepdim=True), query_ND @ self.key_DK], dim=1) / self.temperature
        )
        sibling_NK = source_N[:, None] == self.source_K
        with torch.no_grad():
            views = mining_ND, query_ND, self.mining_DK.T, self.key_DK.T
            rows_NP = as_published(views, sibling_NK, self.stages, self.ratio, self.topk)
        positive_NL = torch.cat([torch.zeros_like(sibling_NK[:, :1]), sibling_NK], dim=1)
        positive_NL.scatter_(1, rows_NP + 1, True)
        loss = -(logits_NL.softmax(1) * positive_NL).sum(1).log().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        after = self.pointer + len(rgb)
        self.key_DK[:, self.pointer : after], self.mining_DK[:, self.pointer : after] = key_ND.T, mining_ND.T
        self.source_K[self.pointer : after] = source_N
        self.pointer = after % len(self.source_K)
        return loss.item()

    def floats(self, clip_NTHWC: Tensor) -> Tensor:
        """Bytes to normalised floats `[N,3,T,H,W]` in torch's own memory layout."""
        clip = (clip_NTHWC.permute(0, 4, 1, 2, 3).contiguous().float() / 255).to(self.key_DK.dtype)
        return (clip - torch.tensor(MEAN).view(3, 1, 1, 1)) / torch.tensor(STD).view(3, 1, 1, 1)


def plain_encoder(ours: nn.Module) -> nn.Module:
    """torchvision's S3D with the published batch norm and MoCo's head, with the weights of `ours`: layers are in one order."""
    weights = ours[0].state_dict().values()
    backbone = s3d(norm_layer=nn.BatchNorm3d).features.to(next(iter(weights)).dtype)
    backbone.load_state_dict(dict(zip(backbone.state_dict(), weights, strict=True)))
    return nn.Sequential(backbone, *deepcopy(list(ours)[1:])).train()


def embed(network: nn.Module, clip: Tensor) -> Tensor:
    """Normalised embeddings `[N,D]`."""
    return normalize(network(clip).flatten(1))


def cycle(resolved: Resolved) -> AbstractContextManager[Trial]:
    """The product's step in the phase that mines."""
    return trial(resolved, resolved.phase("cycle"), torch.device("cpu"), VIDEOS)


def plainly(ours: Trial, resolved: Resolved) -> Callable[[], float]:
    """The same step written plainly, on the same batches; it gives its loss."""
    job, batches = ours.job, Noise(ours.job, ("rgb", "flow"))
    module, options = ours.stepper.module, job.phase.optimizer
    sampler = build_encoder(resolved.phase("flow")).to(module.bank.key_KD.dtype)
    plain = Plain(module, sampler, options.lr, options.weight_decay)

    def step() -> float:
        batch = next(batches)
        return plain.step(batch["rgb"], batch["flow"], job.source_V[batch["video"]])

    return step


def check() -> None:
    """Print the losses of both in float64."""
    resolved = experiment(*AS_PUBLISHED, "clip.frames=8", "clip.size=64")
    with cycle(resolved) as ours:
        ours.stepper.module.double()
        theirs = plainly(ours, resolved)
        for number in range(CHECKED):
            plain = theirs()
            ours.step(number)
            loss = ours.stepper.outcomes[0].loss.item()
            off = abs(loss / plain - 1)
            print(f"float64, step {number}: loss {loss:.9f}, plainly {plain:.9f}, relative difference {off:.1e}")


def main() -> None:
    """Compare losses, then run the rounds and print the table."""
    rounds = int(sys.argv[1]) if sys.argv[1:] else 5
    torch.set_num_threads(1)
    keep_freed_memory()
    torch.manual_seed(0)
    say_bf16()
    with ExitStack() as stack:
        check()
        precisions = ("float32", "bf16") if has_bf16() else ("float32",)
        by_name = {name: experiment(*AS_PUBLISHED, f'precision="{name}"') for name in precisions}
        ours = {name: stack.enter_context(cycle(resolved)) for name, resolved in by_name.items()}
        theirs = plainly(ours["float32"], by_name["float32"])
        print(f"first loss: plainly {theirs():.6f}", end="")
        for precision, way in ours.items():
            way.step()
            print(f", {precision} {way.stepper.outcomes[0].loss.item():.6f}", end="")
        print()
        table(interleaved({"plain": theirs, **{name: way.step for name, way in ours.items()}}, rounds), "plain")


if __name__ == "__main__":
    main()
