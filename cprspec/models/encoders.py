"""From a resolved phase to its encoder, and weights into it: all of them or an error that lists what does not fit."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from cprspec.errors import CprspecError, Place, Problem
from cprspec.models.heads import Encoder
from cprspec.models.tensor_files import read_tensors
from cprspec.spec.kinds import Backbone
from cprspec.spec.schema import Phase, WeightsFile

Weights = Mapping[str, torch.Tensor]


def build_encoder(phase: Phase) -> Encoder:
    """An untrained encoder of `phase`, the same for the same seed, without touching global random state."""
    return new_encoder(phase.backbone, phase.framework.head, phase.seed)


def new_encoder(backbone: Backbone, embedding: int, seed: int) -> Encoder:
    """An untrained encoder over `backbone`, as `build_encoder` makes it.

    `embedding` is the size of the projection head's output; 0: no head, the pooled feature is the embedding.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Encoder(backbone.build(), backbone.feature_size, embedding)


def fill(encoder: Encoder, weights: Weights, what: str, source: str | WeightsFile | None) -> None:
    """Load `weights` into `encoder`; whatever does not fit is an error that lists the first differences.

    A `WeightsFile` may allow by name that some keys stay unfilled.
    """
    allowed = source.allow_missing if isinstance(source, WeightsFile) else ()
    own = encoder.state_dict()
    if listed := differences(own, weights, allowed):
        place = Place(str(source.file)) if isinstance(source, WeightsFile) else None
        raise CprspecError(Problem(f"{what}: weights do not fit the encoder: {listed}", place))
    encoder.load_state_dict({k: weights.get(k, own[k]) for k in own})


def differences(own: Weights, weights: Weights, may_lack: tuple[str, ...] = ()) -> str:
    """The first of what keeps `weights` from being put in place of `own`, in words; "" where they fit.

    Names that begin like one of `may_lack` need not be there.
    """
    missing = [k for k in own if k not in weights and not k.startswith(may_lack)]
    extra = [k for k in weights if k not in own]
    shapes = [
        f"{k}: {tuple(weights[k].shape)} where {tuple(own[k].shape)} is expected"
        for k in own
        if k in weights and weights[k].shape != own[k].shape
    ]
    found = [*shapes, *(f"{k}: missing" for k in missing), *(f"{k}: not expected" for k in extra)]
    return ", ".join(found[:10]) + (f" and {len(found) - 10} more" if len(found) > 10 else "")


def read_weights(source: WeightsFile) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, copied into memory. CprspecError where it is none, damaged or hostile."""
    try:
        if not source.file.is_file():  # a FIFO or a device would hang
            raise CprspecError(Problem("cannot read weights: not a regular file", Place(str(source.file))))
        content = source.file.read_bytes()
    except OSError as error:
        raise CprspecError(Problem(f"cannot read weights ({error.strerror})", Place(str(source.file)))) from error
    return read_tensors(content, source.file)
