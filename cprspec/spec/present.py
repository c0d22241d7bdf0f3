"""How cards and plans look on a terminal. Text from files is never read as markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cprspec.errors import clean
from cprspec.spec.schema import Resolved
from cprspec.spec.verdict import new_phases, sweep_line


def print_cards(cards: Sequence[Mapping[str, Any]]) -> None:
    """A table of cards, by kind."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("kind", "name", "what it is"):
        table.add_column(column, no_wrap=column != "what it is")
    previous = None
    for card in cards:
        kind = card["kind"] if card["kind"] != previous else ""
        previous = card["kind"]
        table.add_row(_text(kind), _text(card["name"], "bold"), _text(card["summary"]))
    Console().print(table)


def print_card(card: Mapping[str, Any]) -> None:
    """One card: what it is, its paper, and its options with values and bounds."""
    console = Console()
    console.print(_text(f"{card['kind']} {card['name']}", "bold"))
    console.print(_text(card["summary"]))
    console.print(_text(card["description"]))
    if card["paper"]:
        console.print(_text(f"paper: {card['paper']}"))
    console.print(_text(f"component: {card['implements']}"))
    if not card["options"]:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("option", "value", "type", "allowed", "what it is"):
        table.add_column(column, no_wrap=column in ("option", "value"))
    for option in card["options"]:
        table.add_row(
            _text(option["name"], "bold"),
            _text(shown_value(option["default"])),
            _text(option["type"]),
            _text(_allowed(option)),
            _text(option["help"]),
        )
    console.print(table)


def print_plan(plan: Mapping[str, Any]) -> None:
    """The plan of an experiment, on stderr: one row for each phase, and the data if it was read."""
    console = Console(stderr=True)
    table = Table(title="plan", box=None, pad_edge=False, header_style="bold", title_justify="left")
    table.add_column("phase", overflow="fold")
    for column in ("views", "start", "mined by"):
        table.add_column(column)
    numbers = ("epochs", "params", "GiB", "clips", "fill")
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=True)
    for phase in plan["phases"]:
        mined = f"{phase['miner']} in {phase['mine_with']}" if phase["mine_with"] else phase["miner"]
        table.add_row(
            _text(phase["name"], "bold"),
            _text(", ".join(phase["views"])),
            _text(phase["start_from"] or "-"),
            _text(mined or "-"),
            _text(str(phase["epochs"])),
            _text(f"{phase['parameters'] / 1e6:.2f} M"),
            _text("-" if phase["memory_gib"] is None else f"{phase['memory_gib']:.2f}"),
            _text(_or_dash(phase["clips_per_epoch"])),
            _text(_or_dash(phase["queue_fill_steps"])),
        )
    console.print(table)
    console.print(
        _text("GiB: most memory of one process on a CPU (docs/running.md); fill: steps until the queue is full")
    )
    for exchange in _exchanges(plan["phases"]):
        console.print(_text(exchange))
    if not plan["data"]:
        console.print(_text("clips per epoch and sources per class need the videos: add --data"))
    for facts in plan["data"]:
        low, high = facts["sources_per_class"] or (None, None)
        span = str(low) if low == high else f"{low} to {high}"
        per_class = f", {span} sources per class" if low is not None else ""
        counts = f"{facts['train_videos']} videos to train on, {facts['test_videos']} to test on"
        console.print(_text(f"data set {facts['name']}: {counts}, {facts['classes']} classes{per_class}"))


def _exchanges(phases: Sequence[Mapping[str, Any]]) -> list[str]:
    """How much ranks exchange in a step: a line for each amount, with the phases that do."""
    names: dict[str, list[str]] = {}
    for phase in phases:
        if exchange := phase["exchange"]:
            amount = f"by each of {exchange['ranks']} ranks: {exchange['bytes_per_step'] / 2**20:,.1f} MiB"
            names.setdefault(amount, []).append(phase["name"])
    return [f"exchanged in a step {amount} ({', '.join(of_phases)})" for amount, of_phases in names.items()]


def print_sweep(runs: Sequence[Resolved]) -> None:
    """The runs of a sweep, one to a row: its name, its seed, and the phases that no run before it has trained."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", overflow="fold")
    table.add_column("seed", justify="right")
    table.add_column("phases to train", overflow="fold")
    for run, new in zip(runs, new_phases(runs), strict=True):
        table.add_row(_text(run.name, "bold"), _text(str(run.seed)), _text(", ".join(new) or "none"))
    console = Console()
    console.print(table)
    console.print(_text(f"a sweep of {sweep_line(runs)}"))
    hint = f"one of them whole: --set 'sweep.only=[\"{runs[0].name}\"]'"
    Console(stderr=True).print(_text(hint))


def shown_value(value: object) -> str:
    """An option's value as TOML spells it; None is shown as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {shown_value(v)}" for key, v in value.items()) + " }"
    return "[" + ", ".join(shown_value(v) for v in value) + "]" if isinstance(value, list) else str(value)


def _allowed(option: Mapping[str, Any]) -> str:
    if option["choices"]:
        return ", ".join(option["choices"])
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    return ", ".join(f"{signs[word]} {limit}" for word, limit in option["bounds"].items())


def _or_dash(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _text(value: str, style: str = "") -> Text:
    return Text(clean(value), style=style)
