"""The phases of a run, in order: reuse what is finished, train the rest, evaluate."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from attrs import field, frozen
from safetensors.torch import save as to_bytes

from cprspec.data.index import Index
from cprspec.evaluation.encoders import Trained
from cprspec.evaluation.run import evaluate
from cprspec.learning.ranks import Ranks, wait_for_all
from cprspec.models.encoders import Weights, read_weights
from cprspec.runs import events
from cprspec.runs.files import atomic_write_json
from cprspec.runs.layout import STOP_REQUESTED, RunDir
from cprspec.runs.rank_state import EVALUATE
from cprspec.spec.kinds import Evaluator
from cprspec.spec.plan import evaluation_fingerprint, fingerprints
from cprspec.spec.schema import Phase, Resolved, WeightsFile
from cprspec.training import checkpoint
from cprspec.training.build import Start, build_stepper
from cprspec.training.environment import file_digest, version_differences, versions
from cprspec.training.estimate import GIB, Memory
from cprspec.training.job import Allowed, Job
from cprspec.training.loop import train_phase
from cprspec.training.memory import forget_peak, peak_bytes
from cprspec.training.pulse import Pulse
from cprspec.training.report import Reporter
from cprspec.training.reuse import (
    FINISHED,
    Finished,
    copy_evaluation,
    copy_phase,
    find_finished,
    finished_phase,
    write_evaluation,
)
from cprspec.training.signals import Stopped, StopRequest, asked_to_stop
from cprspec.video.store import Store

SEEN_BY_ALL_S = 60.0
"""After so long every machine shows what one has written, seconds: NFS remembers that a file was not there."""


@frozen
class Recipe:
    """The phases of one run and their weights."""

    runs: Path
    fresh: bool
    resolved: Resolved
    indices: dict[str, Index]
    store: Store
    run: RunDir
    ranks: Ranks
    report: Reporter
    stop: StopRequest
    alive: Pulse
    allowed: Allowed
    stated: Mapping[str, Memory | None]
    fingerprints: dict[str, str] = field(init=False)
    done: dict[str, Finished] = field(init=False, factory=dict)

    @fingerprints.default
    def _fingerprints(self) -> dict[str, str]:
        identity = self.indices[self.resolved.train_on].digest()
        return fingerprints(self.resolved, identity, file_digest)

    def obtain(self, phase: Phase, position: int) -> None:
        """Have `phase` finished: it is already, or it is copied from another run, or it is trained now."""
        self.stop_if_asked()
        folder = self.run.phase(phase.name)
        finished, announced = self._finished(folder, phase.name)
        job = self._job(phase, folder)
        if not announced:
            origin = finished.facts.get("reused_from") if finished else None
            self.report(
                events.PhaseStarted(
                    phase=phase.name, position=position, of=len(self.resolved.phases), views=phase.views,
                    miner=phase.miner.name if phase.miner else None, epochs=phase.epochs,
                    steps_per_epoch=job.steps_per_epoch, reused_from=origin,
                )
            )  # fmt: skip
        self.done[phase.name] = finished or self._train(job)

    def _finished(self, folder: Path, name: str) -> tuple[Finished | None, bool]:
        """The phase if it need not be trained, and whether it was so in this run before.

        Rank 0 looks, and copies from another run; the others take its word, whatever their machines see of its files yet, so
        that no rank trains alone.
        """
        found, before = None, False
        if self.ranks.first:
            found = finished_phase(folder, self.fingerprints[name])
            before = found is not None
            if found is None and not self.fresh:
                found = self._reuse(folder, name)
        wait_for_all(self.ranks)  # a checkpoint of gigabytes may have been copied
        facts = json.loads(self.ranks.text_from_first(json.dumps(found.facts if found else None)))
        return (Finished(folder, facts) if facts is not None else None), before

    def _reuse(self, folder: Path, name: str) -> Finished | None:
        """A copy of the phase from another run, if one has it."""
        candidates = find_finished(self.runs, self.fingerprints[name], self.run.path)
        strips = self.resolved.launch.strips > 0
        copied = next((c for found in candidates if (c := copy_phase(found, folder, name, strips))), None)
        for difference in version_differences(copied.facts["versions"]) if copied else ():
            self.report(events.Warned(message=f"reused phase '{name}' was trained with other versions: {difference}"))
        return copied

    def _train(self, job: Job) -> Finished:
        phase = job.phase
        began = time.monotonic()
        sampler = self.resolved.phase(phase.mine_with) if phase.mine_with else None
        start = Start(
            encoder=self._start_weights(phase.start_from),
            sampler=self.weights(phase.mine_with) if phase.mine_with else None,
        )
        newest = checkpoint.in_order(job.checkpoints)[-1:] if self.ranks.first else []
        if name := self.ranks.text_from_first("".join(folder.name for folder in newest)):
            self._see(job.checkpoints / name)
        forget_peak(self.ranks.device)
        stepper = build_stepper(job, sampler, start)
        last = train_phase(job, stepper)
        peak_gib = self.ranks.largest(peak_bytes(self.ranks.device)) / GIB
        expected = self.stated.get(phase.name) if self.ranks.device.type == "cpu" else None
        stated_gib = expected.total / GIB if expected else None
        digest = checkpoint.weights_digest(last) if self.ranks.first else ""
        seconds = time.monotonic() - began
        facts = {
            "schema": 1, "kind": "phase", "name": phase.name, "fingerprint": self.fingerprints[phase.name],
            "checkpoint": last.name, "weights_sha256": digest, "seconds_s": seconds, "reused_from": None,
            "versions": versions(), "stated_gib": stated_gib, "peak_gib": peak_gib,
        }  # fmt: skip
        if self.ranks.first:
            launch = job.launch
            checkpoint.Keep(last=1, best=launch.keep_best, by=launch.best_by).apply(job.checkpoints)
            atomic_write_json(job.folder / FINISHED, facts)
        self.report(
            events.PhaseFinished(
                phase=phase.name, seconds_s=seconds, weights_sha256=digest, stated_gib=stated_gib, peak_gib=peak_gib
            )
        )
        wait_for_all(self.ranks)
        return Finished(job.folder, facts)

    def _start_weights(self, start_from: str | WeightsFile | None) -> Weights | None:
        if start_from is None:
            return None
        return read_weights(start_from) if isinstance(start_from, WeightsFile) else self.weights(start_from)

    def weights(self, phase: str) -> Weights:
        """The encoder weights that a finished phase ended with."""
        return checkpoint.load(self._see(self.done[phase].checkpoint)).weights

    def _see(self, folder: Path) -> Path:
        """`folder`, which rank 0 has seen or made, once this machine shows it, too."""
        deadline = time.monotonic() + SEEN_BY_ALL_S
        while not self.ranks.first and not folder.is_dir() and time.monotonic() < deadline:
            time.sleep(SEEN_BY_ALL_S / 100)
        return folder

    def stop_if_asked(self, save: Callable[[], None] | None = None) -> None:
        """Call `save` and raise `Stopped` if any rank was asked to stop; every rank must come here."""
        if number := asked_to_stop(self.stop, self.run.path / STOP_REQUESTED, self.ranks):
            if save is not None:
                save()
            raise Stopped(number, None)

    def _job(self, phase: Phase, folder: Path) -> Job:
        index, device = self.indices[phase.dataset], self.ranks.device
        return Job(
            phase=phase,
            views=self.resolved.views,
            mining_view=self.resolved.mining_view(phase),
            index=index,
            fingerprint=self.fingerprints[phase.name],
            label_V=torch.from_numpy(index.labels).to(device),
            source_V=torch.from_numpy(index.source_ids).to(device),
            steps_per_epoch=len(index.ids("train")) // phase.batch_size,
            store=self.store,
            launch=self.resolved.launch,
            ranks=self.ranks,
            folder=folder,
            report=self.report,
            stop=self.stop,
            alive=self.alive,
            allowed=self.allowed,
            stop_file=self.run.path / STOP_REQUESTED,
        )

    def evaluate(self) -> None:
        """Run every evaluator whose results the run does not have yet."""
        trained = Trained(
            resolved=self.resolved,
            indices=self.indices,
            store=self.store,
            weights={phase.name: self.weights(phase.name) for phase in self.resolved.phases},
            ranks=self.ranks,
            # One process can stop between videos; several agree between evaluations only, since they are not in step.
            pause=self.stop_if_asked if self.ranks.world == 1 else _go_on,
            pause_together=self.stop_if_asked,
            report=self.report,
            world_size_change=self.allowed.world_size_change,
        )
        for name, options in self.resolved.evaluate.items():
            path, work = self.run.evaluation(name), self.run.evaluation_work(name)
            if self.ranks.any(path.exists()):
                self._remove(work)
                continue
            self.stop_if_asked()
            self.alive.place(None)
            self.alive.at(EVALUATE)
            self.report(events.EvaluationStarted(name=name))
            began = time.monotonic()
            fingerprint = self._evaluation_fingerprint(options)
            if (facts := self._taken(name, fingerprint)) is None:
                result = evaluate(name, options, trained, work)
                facts = {**result.facts, "fingerprint": fingerprint}
                if self.ranks.first:
                    write_evaluation(path, facts, to_bytes(result.tensors) if result.tensors else None)
            self._remove(work)
            self.report(
                events.Evaluated(
                    name=name, records=len(facts["records"]), seconds_s=time.monotonic() - began,
                    reused_from=facts.get("reused_from"),
                )
            )  # fmt: skip

    def _evaluation_fingerprint(self, options: Evaluator) -> str:
        data = {name: index.digest() for name, index in self.indices.items()}
        phases = {name: finished.facts for name, finished in self.done.items()}
        return evaluation_fingerprint(options, self.resolved, phases, data, versions())

    def _taken(self, name: str, fingerprint: str) -> dict[str, Any] | None:
        """What another run found, copied by rank 0, if one did; the other ranks take its word."""
        look = self.ranks.first and not self.fresh
        facts = copy_evaluation(self.runs, name, fingerprint, self.run) if look else None
        short = {key: facts[key] for key in ("records", "reused_from")} if facts else None
        found: dict[str, Any] | None = json.loads(self.ranks.text_from_first(json.dumps(short)))
        return found

    def _remove(self, work: Path) -> None:
        """Remove what an evaluation no longer needs, once no rank reads it."""
        if self.ranks.any(work.exists()):
            wait_for_all(self.ranks)
            if self.ranks.first:
                shutil.rmtree(work)


def _go_on(_save: Callable[[], None]) -> None:
    """Nothing in particular."""
