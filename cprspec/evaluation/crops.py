"""Testing a classifier on whole videos: its probabilities averaged over windows, then over crops.

Source: PROTOCOL 4.1 (softmax, mean over windows, mean over crops) and 4.2 (mean of scores over ten clips).

Legend: V videos, W windows, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import frozen
from torch import Tensor

from cprspec.components.evaluators import Classifier as Options
from cprspec.models.heads import Classifier
from cprspec.video.normalise import Normalise


@frozen
class Answering:
    """A classifier as the pass over videos wants it (features.FrozenEncoder): what it says of clips is their feature."""

    network: Classifier
    view: str
    to_input: Normalise
    mean_of: str

    def of_clips(self, clip_NTHWC: Tensor) -> Tensor:
        """Probabilities or scores `[N,C]`, float32, of clips as bytes."""
        scores_NC: Tensor = self.network(self.to_input(clip_NTHWC)).float()
        return scores_NC.softmax(1) if self.mean_of == "probabilities" else scores_NC


def over_crops(said_by_crop: Sequence[Tensor], options: Options) -> Tensor:
    """Class probabilities `[V,C]` from what was said of each crop's windows, already averaged over them."""
    mean_VC = torch.stack([*said_by_crop]).mean(0)
    return mean_VC if options.mean_of == "probabilities" else mean_VC.softmax(1)
