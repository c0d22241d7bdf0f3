"""The arrows between packages point one way, and nothing in the torch-free ones imports torch at module level."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import cprspec

ROOT = Path(cprspec.__file__).parent

ALLOWED = {
    "errors": set(),
    "spec": {"errors"},
    "components": {"errors", "spec"},
    "data": {"errors", "spec"},
    "runs": {"errors"},
    "faults": {"errors"},
    "processes": set(),
    "mining": {"errors", "learning"},
    "video": {"errors", "processes", "spec", "components", "data"},
    "models": {"errors", "spec", "components"},
    "learning": {"errors", "spec", "components", "models"},
    "evaluation": {"errors", "spec", "components", "data", "video", "models", "learning", "mining", "runs"},
    "training": {
        "errors", "faults", "processes", "spec", "components", "data", "video", "models", "learning", "mining",
        "evaluation", "runs",
    },
    "weights": {
        "errors", "spec", "components", "data", "video", "models", "learning", "evaluation", "training", "runs",
    },
    "tui": {"errors", "runs", "spec"},
    "cli": {
        "cli_bench", "cli_compare", "cli_data", "cli_figure", "cli_logs", "cli_mine", "cli_monitor", "cli_options",
        "cli_prepare", "cli_report", "cli_search", "cli_submit", "cli_weights", "errors",
    },
    "cli_compare": {"errors", "cli_options"},
    "cli_bench": {"errors", "cli_options"},
    "cli_data": {"errors", "cli_options"},
    "cli_figure": {"errors", "cli_options", "runs"},
    "cli_logs": {"errors", "cli_options"},
    "cli_mine": {"errors", "cli_options"},
    "cli_monitor": {"errors", "cli_options"},
    "cli_options": {"errors"},
    "cli_prepare": {"errors", "cli_options"},
    "cli_report": {"errors", "cli_options"},
    "cli_search": {"errors", "cli_options"},
    "cli_submit": {"errors", "cli_options"},
    "cli_weights": {"errors", "cli_options"},
    "__main__": {"cli"},
    "__init__": set(),
}  # fmt: skip
"""What each package may import when it is imported; inside functions `components` and `cli` open the heavy doors."""

TORCH_FREE = {
    "errors",
    "spec",
    "components",
    "data",
    "runs",
    "faults",
    "processes",
    "tui",
    "cli",
    "cli_compare",
    "cli_bench",
    "cli_data",
    "cli_figure",
    "cli_logs",
    "cli_mine",
    "cli_monitor",
    "cli_options",
    "cli_prepare",
    "cli_report",
    "cli_search",
    "cli_submit",
    "cli_weights",
    "__main__",
    "__init__",
}


def module_level_imports(path: Path) -> set[str]:
    """Names of modules that importing `path` imports: not those inside functions or under TYPE_CHECKING."""
    found: set[str] = set()
    pending: list[ast.stmt] = list(ast.parse(path.read_text()).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            pending += node.orelse
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.ClassDef):
            pending += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
    return found


FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows_point_one_way(path):
    package = path.relative_to(ROOT).with_suffix("").parts[0]
    used = {name.split(".")[1] for name in module_level_imports(path) if name.startswith("cprspec.")}
    used -= {package, "__version__"}
    assert used <= ALLOWED[package], f"{package} must not import {sorted(used - ALLOWED[package])}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_torch_free_packages_do_not_import_torch(path):
    if path.relative_to(ROOT).with_suffix("").parts[0] in TORCH_FREE:
        heavy = {name.split(".")[0] for name in module_level_imports(path)} & {"torch", "torchvision", "cv2", "av"}
        assert not heavy


NOTHING_WITH = {"tarfile", "zipfile", "urllib", "http", "ftplib", "requests", "shelve", "dill", "cloudpickle", "runpy"}
"""Modules that unpack archives, open addresses, or run what they read."""


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_archive_is_unpacked_no_address_opened_and_no_code_read(path):
    names, called, imported = set(), set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called.add(node.func.id)
    assert not imported & NOTHING_WITH
    assert not names & {"unpack_archive", "extractall", "urlopen"}
    assert not called & {"eval", "exec", "compile", "__import__"}
    assert "pickle" not in imported or path.name == "unpickle.py"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_figures_import_matplotlib(path):
    """Not even inside a function: it costs 0.7 s, and it is an extra."""
    figures = ROOT / "runs/figures"
    strip = ROOT / "tui/widgets/strip.py"  # pictures in the terminal, once one is looked at
    if path != strip and (path.parent != figures or path.name == "__init__.py"):
        found = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        names = {alias.name for node in found for alias in node.names} | {
            getattr(node, "module", None) for node in found
        }
        assert not {name for name in names if name and name.split(".")[0] in {"matplotlib", "PIL"}}


def test_the_test_sees_an_arrow(tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from cprspec.training.loop import train_phase\nif True:\n    import torch\n")
    assert {"cprspec.training.loop", "torch"} <= module_level_imports(wrong)
