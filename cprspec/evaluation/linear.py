"""The linear probe on stored features: one feature for each video, and a small head trained on those of the training split.

Source: CoCLR's probe on stored features (PROTOCOL 4.1), without its choice of the best epoch on the test videos (5, 20): the
last epoch counts. Every rank does the same work. Legend: V videos, F features, C classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cprspec.components.evaluators import Linear
from cprspec.components.optimizers import SGD, Step
from cprspec.errors import CprspecError, Problem
from cprspec.models.heads import ClassHead
from cprspec.video.sampling import generator

ORDER = 201
"""Stream of random numbers: the order of the videos."""

Heard = Callable[[int, float], None]
"""Called after each epoch with its number and mean loss."""


def train_head(
    feature_VF: Tensor, label_V: Tensor, classes: int, options: Linear, seed: int, heard: Heard | None = None
) -> ClassHead:
    """The head after its last epoch, in evaluation mode, on the features' device. Raises CprspecError."""
    if len(label_V) < 2:
        raise CprspecError(f"a linear probe needs two labelled training videos or more, found {len(label_V)}")
    head = ClassHead(feature_VF.shape[1], classes, l2=options.l2, batch_norm=options.batch_norm, seed=seed)
    head.to(feature_VF.device).train()
    sgd = SGD(lr=options.lr, momentum=options.momentum, weight_decay=options.weight_decay)
    schedule = Step(milestones=options.milestones, gamma=options.gamma)
    optimizer = sgd.build(head.parameters())
    # Equal parts of at most batch_size, and no video is left out. Of one alone batch norm has no variance: where parts of
    # two would leave one, a part has three.
    least = 2 if options.batch_norm else 1
    steps = min(-(-len(label_V) // options.batch_size), len(label_V) // least)
    for epoch in range(options.epochs):
        optimizer.param_groups[0]["lr"] = options.lr * schedule.factor(epoch, options.epochs)
        order = torch.from_numpy(generator(seed, ORDER, epoch).permutation(len(label_V)))
        total = 0.0
        for rows in order.to(feature_VF.device).tensor_split(steps):
            loss = cross_entropy(head(feature_VF[rows]), label_V[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        if not total < torch.inf:
            raise CprspecError(Problem(f"linear probe: the loss of epoch {epoch} is not finite", hint="lower its lr"))
        if heard is not None:
            heard(epoch, total / len(label_V))
    return head.eval()


@torch.inference_mode()
def probabilities(head: ClassHead, feature_VF: Tensor) -> Tensor:
    """Class probabilities `[V,C]` on the CPU."""
    probability_VC: Tensor = head(feature_VF).softmax(1)
    return probability_VC.cpu()
