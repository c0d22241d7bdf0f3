"""The components that cprspec brings: declarations only, no torch. `cli` hands them to the Registry."""

from __future__ import annotations

from cprspec.components import (
    augments,
    backbones,
    datasets,
    evaluators,
    frameworks,
    miners,
    optimizers,
    views,
)
from cprspec.spec.kinds import Component

BUILTIN: tuple[type[Component], ...] = (
    *backbones.COMPONENTS,
    *frameworks.COMPONENTS,
    *miners.COMPONENTS,
    *evaluators.COMPONENTS,
    *datasets.COMPONENTS,
    *views.COMPONENTS,
    *augments.COMPONENTS,
    *optimizers.COMPONENTS,
)
