"""A training step without a run: it is a whole one, of a phase that mines in a full bank."""

import pytest
import torch
from small_run import SPEC

from cprspec.spec.registry import builtin_registry
from cprspec.spec.resolve import resolve_all
from cprspec.training.trial import trial

IIC = """
[framework]
use = "iic"
negatives = 8

[phase.iic]
views = ["rgb", "flow"]
epochs = 3
miner = { use = "cpr", stages = 3, topk = 2 }

[launch]
threads = 1
device = "cpu"
"""
IIC = SPEC[: SPEC.index("[framework]")] + SPEC[SPEC.index("[augment]") : SPEC.index("[miner]")] + IIC


@pytest.fixture
def resolved(tmp_path):
    def of(text):
        path = tmp_path / "small.toml"
        path.write_text(text)
        (found,) = resolve_all(path, builtin_registry())
        return found

    return of


@pytest.mark.parametrize(("text", "phase", "picks"), [(SPEC, "cycle", 1), (SPEC, "rgb", 0), (IIC, "iic", 2)])
def test_a_step_mines_learns_and_is_entered(resolved, text, phase, picks):
    experiment = resolved(text)
    state = torch.random.get_rng_state()
    with trial(experiment, experiment.phase(phase), torch.device("cpu"), 40) as steps:
        before = [p.clone() for p in steps.stepper.encoder.parameters()]
        steps.step()
        assert any(not torch.equal(a, b) for a, b in zip(before, steps.stepper.encoder.parameters(), strict=True))
        assert len(list(steps.stepper.picks())) == picks
        entered = [len(queries) for name, queries in steps.ledger.state().items() if name.endswith("query_M")]
        assert entered == [8 if picks else 0] * max(1, picks)
    assert torch.equal(state, torch.random.get_rng_state())
