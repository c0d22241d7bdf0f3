"""What a user asked `cprspec run` for, as plain data that reaches every rank. No torch."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from attrs import evolve, frozen

from cprspec.errors import MAX_ECHO, CprspecError, Problem, clean
from cprspec.runs.files import atomic_write_bytes, atomic_write_text
from cprspec.runs.layout import RunDir
from cprspec.spec.registry import builtin_registry
from cprspec.spec.resolve import Member, resolve, resolve_all
from cprspec.spec.roots import configured_roots, parse_roots
from cprspec.spec.schema import Resolved
from cprspec.spec.toml import to_toml


@frozen
class Known:
    """An experiment as it was when the command began: resolved, and the text of its file, which may be edited since."""

    resolved: Resolved
    text: bytes


@frozen(kw_only=True)
class Request:
    """One experiment to run, or with `run_dir` one to go on with; `child` when a launcher started this process.

    `member` says which one of a sweep. `known`: what `spec` said when it was checked; it is not read again then. `tell`: a file
    of this machine where a rank writes the run's directory, for a launcher that did not make it.
    """

    spec: Path
    runs: Path
    run_dir: Path | None = None
    overrides: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    registries: tuple[Path, ...] = ()
    plugins: tuple[Path, ...] = ()
    fresh: bool = False
    fallback: bool = False
    allow_world_size_change: bool = False
    child: bool = False
    member: Member | None = None
    known: Known | None = None
    tell: Path | None = None

    def run_path(self) -> Path | None:
        """The run's directory, None while it is not known on this machine."""
        if self.run_dir is None and self.tell is not None and self.tell.exists():
            return Path(self.tell.read_text("utf-8", "surrogateescape"))
        return self.run_dir

    @property
    def title(self) -> str:
        """What it is called beside others."""
        return f"{self.member[0]}, seed {self.member[1]}" if self.member else str(self.run_dir or self.spec)

    def resolve(self) -> Resolved:
        """The experiment that is asked for. CprspecError with all that is wrong with it."""
        if self.known is not None:
            return self.known.resolved
        registry = builtin_registry(self.registries, self.plugins)
        roots = parse_roots(self.roots)
        return resolve(self.spec, registry, overrides=self.overrides, roots=roots, member=self.member)

    def each(self) -> list[Request]:
        """One request for each run of the sweep, or this one alone. CprspecError with all that is wrong with any."""
        registry = builtin_registry(self.registries, self.plugins)
        found = resolve_all(self.spec, registry, overrides=self.overrides, roots=parse_roots(self.roots))
        text, many = self.spec.read_bytes(), len(found) > 1
        return [evolve(self, known=Known(run, text), member=(run.name, run.seed) if many else None) for run in found]

    def settled(self, spec: Path) -> Request:
        """The same where `spec` is the resolved experiment: what was asked for beside its file stands in there."""
        if self.run_dir is not None:
            return evolve(self, known=None)  # what is asked for beside a run is never written into it
        # A root in an experiment gives way to one in the user's configuration.
        configured = configured_roots() if self.roots else {}
        roots = tuple(f"{name}={path}" for name, path in parse_roots(self.roots).items() if name in configured)
        return evolve(self, spec=spec, overrides=(), roots=roots, member=None, known=None)

    def words(self) -> list[str]:
        """What `cprspec run RUN` needs to hear each time: a run knows its experiment, not where plugins lie."""
        words = [word for path in self.registries for word in ("--registry", str(path))]
        words += [word for path in self.plugins for word in ("--plugin", str(path))]
        words += [word for text in self.overrides for word in ("--set", text)]
        words += [
            f"--root={name}={Path(path).expanduser().absolute()}" for name, path in parse_roots(self.roots).items()
        ]
        words += ["--fresh"] if self.fresh else []
        words += ["--fallback"] if self.fallback else []
        return words + (["--allow-world-size-change"] if self.allow_world_size_change else [])


def read_requests(texts: Sequence[str], common: Request) -> list[Request]:
    """One request for each experiment, run of a sweep, or run to go on with in `texts`, with the options of `common`.

    Each is resolved once, now: a mistake in the last file is told before the first is run, and what becomes of a file
    while others run does not matter. CprspecError with all problems.
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
            requests += request.each()
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


def begin_run(request: Request, resolved: Resolved) -> Request:
    """Make a new run and write the experiment into it: `request` of that run, whatever becomes of the experiment's file."""
    run = RunDir.create(request.runs, resolved.name)
    try:
        write_experiment(run, request, resolved)
    except BaseException:
        discard(run)
        raise
    return evolve(request.settled(run.resolved), run_dir=run.path)


def discard(run: RunDir) -> None:
    """Remove a new run in which nothing has happened."""
    shutil.rmtree(run.path, ignore_errors=True)
    with suppress(OSError):  # other runs of the experiment lie there
        run.path.parent.rmdir()


def write_experiment(run: RunDir, request: Request, resolved: Resolved) -> None:
    """Write what a new run is an execution of, as written and as resolved; it is then a run to go on with. Once."""
    if not run.resolved.exists():
        atomic_write_bytes(run.experiment, request.known.text if request.known else request.spec.read_bytes())
        atomic_write_text(run.resolved, to_toml(resolved))
