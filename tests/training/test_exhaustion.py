"""Want of memory in each of its forms, told apart from other errors and told with what to lower."""

from __future__ import annotations

import errno
import weakref

import pytest
import torch

from cprspec.errors import CprspecError
from cprspec.training.exhaustion import lacks_memory, naming_lack_of_memory

TORCH = (
    "[enforce fail at alloc_cpu.cpp:128] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 8"
)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(TORCH),
        RuntimeError("std::bad_alloc"),
        RuntimeError("can't start new thread"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory"),
    ],
)
def test_forms(error):
    assert lacks_memory(error)
    expected = pytest.raises(CprspecError, match=r"out of memory in phase 'rgb': .*; go on with .*batch_size")
    with expected as caught, naming_lack_of_memory(lambda: "in phase 'rgb'"):
        raise error
    assert caught.value.exit_code == 1


def test_torch_says_it_so():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert lacks_memory(caught.value)


NCCL = """NCCL error in: ../torch/csrc/distributed/c10d/NCCLUtils.cpp:29, unhandled cuda error, NCCL version 2.27.5
ncclUnhandledCudaError: Call to CUDA function failed.
Last error:
Cuda failure 2 'out of memory'"""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nSee"), "CUDA out of memory. Tried"),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), "CUDA error: out of memory;"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            "CUDA error: CUBLAS",
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "cuDNN error"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), "cuDNN error"),
        (torch.distributed.DistBackendError(NCCL), "Cuda failure 2 'out of memory'"),
    ],
)
def test_a_gpu_that_has_none(error, reason):
    assert lacks_memory(error)
    with pytest.raises(CprspecError) as caught, naming_lack_of_memory(lambda: "here"):
        raise error
    text = str(caught.value)
    assert text.startswith(f"out of memory here: {reason}")
    assert "launch.checkpoint_activations=true, which changes no result" in text
    assert "batch_size" in text
    assert "prefetch_gib" not in text, "that is memory of the machine"


@pytest.mark.parametrize("error", [RuntimeError("shapes"), OSError(errno.ENOSPC, "full"), CprspecError("else")])
def test_what_is_something_else_stays(error):
    with pytest.raises(type(error)) as caught, naming_lack_of_memory(lambda: "here"):
        raise error
    assert caught.value is error


def test_what_the_failed_step_held_is_let_go():
    held = []

    def step():
        large = torch.zeros(1000)
        held.append(weakref.ref(large))
        raise MemoryError

    with pytest.raises(CprspecError) as caught, naming_lack_of_memory(lambda: "here"):
        step()
    assert held[0]() is None
    assert isinstance(caught.value.__cause__, MemoryError)
