"""What a user asked `cprspec run` for, as plain data that reaches every rank. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attrs import evolve, frozen

from cprspec.errors import MAX_ECHO, CprspecError, Problem, clean
from cprspec.runs.layout import RunDir
from cprspec.spec.registry import builtin_registry
from cprspec.spec.resolve import resolve
from cprspec.spec.roots import parse_roots
from cprspec.spec.schema import Resolved


@frozen(kw_only=True)
class Request:
    """One experiment to run, or with `run_dir` one to go on with; `child` when a launcher started this process."""

    spec: Path
    runs: Path
    run_dir: Path | None = None
    overrides: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    registries: tuple[Path, ...] = ()
    plugins: tuple[Path, ...] = ()
    fresh: bool = False
    child: bool = False

    def resolve(self) -> Resolved:
        """The experiment that is asked for. CprspecError with all that is wrong with it."""
        registry = builtin_registry(self.registries, self.plugins)
        return resolve(self.spec, registry, overrides=self.overrides, roots=parse_roots(self.roots))


def read_requests(texts: Sequence[str], common: Request) -> list[Request]:
    """One request for each experiment file or run in `texts`, with the options of `common`, each resolved once.

    So a mistake in the last file is told before the first is run. CprspecError with the problems of them all.
    """
    requests: list[Request] = []
    problems: list[Problem] = []
    for text in texts:
        try:
            path = Path(text)
            if path.suffix == ".toml" or path.is_file():
                request = evolve(common, spec=path)
            else:
                run = RunDir.find(text, common.runs)
                _only_of_the_machine(common.overrides)
                request = evolve(
                    common, spec=run.resolved, run_dir=run.path.resolve(), runs=run.path.resolve().parent.parent
                )
            if path.name.startswith("_") and len(texts) > 1:
                continue  # a parent for others to extend, caught by a pattern
            request.resolve()
            requests.append(request)
        except CprspecError as error:
            problems += error.problems
    if any(not p.warning for p in problems):
        raise CprspecError(problems)
    return requests


def _only_of_the_machine(overrides: Sequence[str]) -> None:
    """A run goes on as it began: only `launch` may change. CprspecError with each other override."""
    others = [text for text in overrides if not text.startswith("launch.")]
    hint = "run the experiment's file with it, as a new run"
    problems = [
        Problem(f"--set {clean(text, MAX_ECHO)}: cannot change a run that has begun", hint=hint) for text in others
    ]
    if problems:
        raise CprspecError(problems)
