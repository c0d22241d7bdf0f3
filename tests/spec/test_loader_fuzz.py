"""Whatever stands in a file, the loader gives an experiment or a CprspecError, and messages that a terminal can show."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cprspec.errors import CprspecError, clean
from cprspec.spec.registry import Registry
from cprspec.spec.resolve import resolve
from cprspec.spec.schema import Resolved

QUIET = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _try(raw: bytes, registry: Registry, *overrides: str) -> None:
    Path("fuzz.toml").write_bytes(raw)
    try:
        resolve(Path("fuzz.toml"), registry, overrides=overrides)
    except CprspecError as error:
        assert error.problems
        for problem in error.problems:
            assert clean(str(problem)).isprintable() or " " in str(problem)


@QUIET
@given(st.binary(max_size=300))
def test_any_bytes(registry: Registry, raw: bytes) -> None:
    _try(raw, registry)


@QUIET
@given(st.randoms(use_true_random=False))
def test_damaged_experiments(registry: Registry, good: str, rng: random.Random) -> None:
    raw = bytearray(good.encode())
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(raw))
        piece = rng.choice(
            [b"", b"\n", b'"', b"[", b"]", b"{", b"=", b".", b"\x00", b"\xff", b"9", b"-", b"#", b"'''", b"[[a]]\n"]
        )
        raw[at : at + rng.randint(0, 4)] = piece
    _try(bytes(raw), registry)


VALUES = [
    "0",
    "-1",
    "1e400",
    "nan",
    "true",
    '""',
    '"\\u001b[31m"',
    "[]",
    "{}",
    "[{}]",
    "1979-05-27",
    '"a" ',
    "0xff",
    "[[]]",
]
KEYS = [
    "a",
    "use",
    "phase",
    "rgb",
    "views",
    "epochs",
    "miner",
    "clip",
    "dataset",
    "clips",
    "published",
    "start_from",
    "root",
]


@QUIET
@given(st.lists(st.sampled_from(KEYS), min_size=1, max_size=4), st.sampled_from(VALUES) | st.text(max_size=8))
def test_any_override(registry: Registry, good: str, keys: list[str], value: str) -> None:
    _try(good.encode(), registry, f"{'.'.join(keys)}={value}")


def test_lines_of_an_experiment_in_any_order(read: Callable[..., Resolved], good: str) -> None:
    lines = good.splitlines()
    rng = random.Random(0)
    for _ in range(100):
        rng.shuffle(lines)
        try:
            read("\n".join(lines))
        except CprspecError as error:
            assert all(p.place for p in error.problems)
