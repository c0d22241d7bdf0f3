"""What this process hands to collectives, counted where torch dispatches them: those of DDP's C++ code are among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


@frozen
class Handed:
    """One collective, such as `allreduce_`, and the bytes that were handed to it."""

    how: str
    size: int


class CountedCollectives(TorchDispatchMode):
    """Within it, every collective of this process is in `handed`, in order. It slows torch down, and changes no result."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.handed: list[Handed] = []

    def __torch_dispatch__(
        self,
        function: Any,
        types: Sequence[type],
        arguments: tuple[Any, ...] = (),
        options: Mapping[str, Any] | None = None,
    ) -> Any:
        """Do what was asked for, and take note of it when it is a collective."""
        if function.namespace == "c10d":
            # Where results go is an argument of its own, and comes first; what is handed over follows, or is the only one.
            tensors = [argument for argument in arguments if _tensors(argument)]
            given = tensors[1] if len(tensors) > 1 else tensors[0] if tensors else []
            size = sum(tensor.numel() * tensor.element_size() for tensor in _tensors(given))
            self.handed.append(Handed(function.overloadpacket.__name__, size))
        return function(*arguments, **(options or {}))


def _tensors(argument: Any) -> list[Tensor]:
    if isinstance(argument, Tensor):
        return [argument]
    return [tensor for each in argument for tensor in _tensors(each)] if isinstance(argument, list | tuple) else []
