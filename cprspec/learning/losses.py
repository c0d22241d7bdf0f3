"""Contrastive losses over one row of logits per query, in which some columns are positives and column 0 is the own key.

`log_of_sum` is CoCLR's and CPR's, `mean_of_logs` UberNCE's, `info_nce` MoCo's. All are written with log-sum-exp, so a
positive far below the others gives a large loss and not an infinite one. A column whose logit is -inf takes no part; it
must not be positive.

Shapes: N queries, L = 1 + K columns. Each function returns one loss for each row.
"""

from __future__ import annotations

import torch
from torch import Tensor


def info_nce(logits_NL: Tensor) -> Tensor:
    """-log softmax of column 0, `[N]`."""
    return logits_NL.logsumexp(1) - logits_NL[:, 0]


def log_of_sum(logits_NL: Tensor, positive_NL: Tensor) -> Tensor:
    """-log of the softmax summed over positives, `[N]`; every row needs a positive."""
    return logits_NL.logsumexp(1) - logits_NL.masked_fill(~positive_NL, -torch.inf).logsumexp(1)


def mean_of_logs(logits_NL: Tensor, positive_NL: Tensor) -> Tensor:
    """The mean over positives of -log softmax, `[N]`; every row needs a positive."""
    mean_N = logits_NL.masked_fill(~positive_NL, 0).sum(1) / positive_NL.sum(1)
    return logits_NL.logsumexp(1) - mean_N


def without_own_key(positive_NL: Tensor) -> Tensor:
    """`positive_NL` with column 0 unset in every row that has another positive."""
    others_NL = positive_NL.clone()
    others_NL[:, 0] &= positive_NL.sum(1) <= 1
    return others_NL
