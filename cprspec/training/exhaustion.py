"""Memory that runs out while a rank works: recognised in all its forms, and told with what to lower.

What the kernel kills for want of memory cannot say so itself; its launcher does (training/watch.py).
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from cprspec.errors import MAX_ECHO, CprspecError, Problem, clean

LESS_MEMORY = (
    "go on with launch.checkpoint_activations=true or a lower launch.prefetch_gib, which change no result, or begin again "
    "with a lower batch_size or a higher accumulate"
)
"""What to do about it."""

LESS_GPU_MEMORY = LESS_MEMORY.replace(" or a lower launch.prefetch_gib, which change", ", which changes")
"""The same of a GPU's, where no batches are made ahead."""

_TEXTS = ("can't allocate memory", "not enough memory", "bad_alloc", "can't start new thread", "Cannot allocate memory")
"""How torch, C++, Python's threads and the system say it within a RuntimeError."""

_GPU_TEXTS = ("ALLOC_FAILED", "ALLOCATION_FAILED", "out of memory")
"""How cuBLAS, cuDNN and their like, newer cuDNN, and CUDA itself or within NCCL's errors say it."""


def lacks_memory(error: BaseException) -> bool:
    """Whether `error` says that there was no memory for something."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return lacks_gpu_memory(error) or (isinstance(error, RuntimeError) and any(text in str(error) for text in _TEXTS))


def lacks_gpu_memory(error: BaseException) -> bool:
    """Whether it was a GPU that had none."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _GPU_TEXTS)


@contextmanager
def naming_lack_of_memory(where: Callable[[], str]) -> Iterator[None]:
    """Turn an error for want of memory into a `CprspecError` that says `where` the rank was, and let its tensors go."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not lacks_memory(error):
            raise
        # Frames hold the tensors of the step that failed, and telling takes memory, too.
        traceback.clear_frames(error.__traceback__)
        lines = str(error).splitlines() or [type(error).__name__]
        # NCCL says where it was first, and what it lacked last.
        reason = clean(next((line for line in lines if any(text in line for text in _GPU_TEXTS)), lines[0]), MAX_ECHO)
        hint = LESS_GPU_MEMORY if lacks_gpu_memory(error) else LESS_MEMORY
        raise CprspecError(Problem(f"out of memory {where()}: {reason}", hint=hint), exit_code=1) from error
