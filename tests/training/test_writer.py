"""Checkpoints written beside training: nothing that goes wrong there is taken for a checkpoint that was written."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from cprspec.errors import CprspecError
from cprspec.training import checkpoint
from cprspec.training.exhaustion import naming_lack_of_memory
from cprspec.training.job import Tally
from cprspec.training.writer import writing

NO_MEMORY = RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: 1 bytes")


@pytest.fixture
def job(tmp_path):
    """What the writer asks of a job; `suffer` raises `job.error` if there is one."""

    def suffer(*_):
        if job.error is not None:
            raise job.error

    launch = SimpleNamespace(keep_last=2, keep_best=0, best_by="loss")
    job = SimpleNamespace(launch=launch, checkpoints=tmp_path, global_step=lambda t: t.step, suffer=suffer, error=None)
    return job


def put(made, step):
    return made.put(Tally(step=step), {"a": torch.ones(2, 3).T}, {"b": torch.ones(2)}, {})


@pytest.mark.parametrize("error", [NO_MEMORY, ValueError("else"), KeyError("k"), SystemExit(3), OSError(5, "I/O")])
def test_any_error_is_raised_by_the_next_flush(job, error):
    job.error = error
    with writing(job) as made:
        put(made, 7)
        with pytest.raises(CprspecError if isinstance(error, OSError) else type(error)):
            made.flush()
        job.error = None
        put(made, 8)
    assert [folder.name for folder in checkpoint.in_order(job.checkpoints)] == ["step-000008"]


def test_the_last_one_that_cannot_be_written_ends_the_run(job):
    job.error = NO_MEMORY
    told = pytest.raises(CprspecError, match="out of memory while saving")
    with told, naming_lack_of_memory(lambda: "while saving"), writing(job) as made:
        put(made, 7)
    assert not checkpoint.in_order(job.checkpoints)


def test_the_first_error_is_the_one_to_tell(job):
    job.error = ValueError("in the thread")
    with pytest.raises(KeyError, match="in training"), writing(job) as made:
        put(made, 7)
        raise KeyError("in training")


def test_old_ones_that_cannot_be_removed_are_said(job, monkeypatch):
    def fail(path, ignore_errors=False):
        if not ignore_errors:
            raise OSError(13, "denied")

    (job.checkpoints / ".step-000003.1").mkdir(parents=True)
    monkeypatch.setattr(checkpoint.shutil, "rmtree", fail)
    with pytest.raises(CprspecError, match="cannot remove old checkpoints"), writing(job) as made:
        put(made, 7)


def test_what_later_steps_do_is_not_in_it(job):
    changing = torch.zeros(2)
    with writing(job) as made:
        made.put(Tally(step=7), {"a": changing}, {}, {})
        changing.fill_(1)
    found, _ = checkpoint.newest(job.checkpoints)
    assert not bool(found.weights["a"].any())
