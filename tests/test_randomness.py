"""Nothing draws from global random state: every draw has a generator of its own, or happens where the state is put back."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import cprspec

ROOT = Path(cprspec.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

OWN = {"Generator", "Philox", "SeedSequence", "default_rng"}
"""What numpy.random has that holds a state of its own."""

DRAWS = {
    "rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson",
    "rand_like", "randn_like", "randint_like",
    "normal_", "uniform_", "random_", "bernoulli_", "exponential_",
}  # fmt: skip
"""What torch draws; each takes `generator`."""

SEEDS = {"manual_seed", "seed", "set_rng_state"}


def offences(source: str) -> Iterator[str]:
    """What in `source` reads or changes global random state."""
    yield from _within(ast.parse(source), put_back=False)


def _within(node: ast.AST, put_back: bool) -> Iterator[str]:
    if isinstance(node, ast.With) and any("fork_rng" in ast.unparse(item.context_expr) for item in node.items):
        put_back = True
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        if "random" in names:
            yield "imports random"
    numpys = isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("np.random", "numpy.random")
    if numpys and node.attr not in OWN:
        yield ast.unparse(node)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not put_back:
        name, owner = node.func.attr, ast.unparse(node.func.value)
        keywords = {keyword.arg for keyword in node.keywords}
        # A call upon something that is no module, such as rng.normal(), draws from that.
        torchs = owner in ("torch", "torch.nn.init") or name.endswith("_")
        if torchs and name in DRAWS and "generator" not in keywords:
            yield ast.unparse(node)
        if owner in ("torch", "torch.random", "torch.cuda") and name in SEEDS:
            yield ast.unparse(node)
    for child in ast.iter_child_nodes(node):
        yield from _within(child, put_back)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_global_random_state(path):
    found = list(offences(path.read_text()))
    if path.parent.name == "models":  # first weights: networks are made within fork_rng (models/encoders.py)
        found = [offence for offence in found if not offence.startswith("nn.init.")]
    assert not found


def test_the_test_sees_them():
    wrong = (
        "import random", "from random import choice", "np.random.rand(3)", "numpy.random.seed(0)", "torch.rand(3)",
        "x.uniform_(0, 1)", "torch.manual_seed(0)", "torch.randperm(4, device=d)",
    )  # fmt: skip
    right = (
        "rng.normal(0, 1)", "torch.rand(3, generator=g)", "np.random.Generator(np.random.Philox(0))",
        "with torch.random.fork_rng(devices=[]):\n    torch.manual_seed(0)\n    torch.rand(3)",
        "torch.Generator().manual_seed(3)",
    )  # fmt: skip
    assert all(list(offences(text)) for text in wrong)
    assert not any(list(offences(text)) for text in right)
