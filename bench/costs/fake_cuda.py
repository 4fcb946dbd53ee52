"""Fake CUDA device, whose tensors have shapes and devices, but no values.

torch's fake tensors run every operator that real ones would. A dispatch mode records
what the device would do, and where the host would wait for it. The values of small
tensors whose content the host knows (page sizes, positions) are kept, so that code can
read them back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakIdKeyDictionary

from bench.costs.kernels import (
    UNDIVIDED,
    OperatorTally,
    estimate_operator,
    find_tensors,
    find_written_inputs,
    is_random,
)
from handler.engine.device import attention
from handler.engine.device.graphs import Outputs, Shape

__all__ = ["DEVICE", "FakeDevice", "UnknownValuesError", "fake_cuda"]

DEVICE = torch.device("cuda:0")
aten = torch.ops.aten
_REPOSITORY = Path(__file__).resolve().parents[2]
_OWN_FILES = frozenset({__file__, str(Path(__file__).with_name("kernels.py"))})
_MAX_NUM_VALUES = 2**18
"""Largest number of elements of a tensor whose values are kept."""
_VALUE_FACTORIES = frozenset(
    {
        aten.arange,
        aten.empty,
        aten.full,
        aten.linspace,
        aten.ones,
        aten.scalar_tensor,
        aten.zeros,
    }
)
"""Operators whose values follow from their arguments; `empty` is overwritten later."""
_COPIES = frozenset({aten._to_copy, aten.copy_})


class UnknownValuesError(RuntimeError):
    """A shape depends on values that exist only on a real device."""


class FakeDevice(TorchDispatchMode):
    """Counter of operators on the fake device; see `fake_cuda`."""

    def __init__(self) -> None:
        super().__init__()
        self.used_positions = 0
        """Number of cache positions that the attention of each page reads."""
        self.recorded: dict[Shape, OperatorTally] = {}
        self._tally = OperatorTally()
        self._is_recording = False
        self._depth = 0
        self._values = WeakIdKeyDictionary()
        self._pinned = WeakIdKeyDictionary()
        self._stale: dict[int, torch.UntypedStorage] = {}

    @contextmanager
    def count_separately(self) -> Iterator[OperatorTally]:
        """Collect the operations of the context in a separate tally."""
        before, self._tally = self._tally, OperatorTally()
        try:
            yield self._tally
        finally:
            self._tally = before

    def record(
        self, compute: Callable[[], Outputs]
    ) -> tuple[Outputs, Callable[[], None]]:
        """Compute a step, and store its tally in `recorded` by the step's shape.

        Return the outputs and a replay function that does nothing.
        """
        with self.count_separately() as tally:
            self._is_recording = True
            try:
                outputs = compute()
            finally:
                self._is_recording = False
        num_rows, width = outputs[0].shape
        self.recorded[Shape(num_rows, width)] = tally
        return outputs, lambda: None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.ops.prim.device.default:
            # C++ calls these guards, which fail for a device that this build lacks.
            return args[0].device if self._depth else torch.device("cpu")
        if kwargs.get("device") is not None:
            device = torch.device(kwargs["device"])
            kwargs["device"] = DEVICE if device.type == "cuda" else device
        if func._can_decompose() and func not in UNDIVIDED:
            self._depth += 1
            try:
                with self:
                    out = func.decompose(*args, **kwargs)
            finally:
                self._depth -= 1
            if out is not NotImplemented:
                return out
        return self._dispatch(func, args, kwargs)

    def read(self, tensor: torch.Tensor) -> Any:
        """Return the tensor's values as `tolist` does, or zeros if they are unknown.

        A read from the device counts as a wait of the host.
        """
        if tensor.device.type == "cuda":
            self._count_wait("read of values")
        known = self._values_of(tensor)
        with _disable_current_modes():
            if known is None:
                known = torch.zeros(tensor.shape, dtype=tensor.dtype)
            return known.tolist()

    def forbid(self, what: str) -> None:
        """Add an operation that a CUDA graph cannot hold to the tally.

        Do nothing unless a step is being recorded.
        """
        if self._is_recording:
            self._tally.forbidden.append(f"{what} at {_find_code_line()}")

    def pin(self, tensor: torch.Tensor) -> None:
        """Mark a tensor as pinned, so that copies of it need not block."""
        self.forbid("allocation of pinned memory")
        self._pinned[tensor] = True

    def _dispatch(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        packet = func._overloadpacket
        if packet is aten._local_scalar_dense:
            value = self.read(args[0])
            while isinstance(value, list):
                [value] = value
            return value
        is_on_device = any(
            t.device.type == "cuda" for t in find_tensors((args, kwargs))
        )
        if is_random(func, args, kwargs):
            self.forbid(f"random numbers ({packet})")
        masks = [t for t in find_tensors(args) if t.dtype == torch.bool]
        if packet in (aten.index, aten.index_put, aten.index_put_) and masks:
            args = self._replace_masks(func, args, is_on_device)
        elif torch.Tag.data_dependent_output in func.tags or (
            torch.Tag.dynamic_output_shape in func.tags and packet is not aten.index
        ):
            return self._compute_data_dependent(func, args, kwargs, is_on_device)
        out = func(*args, **kwargs)
        self._count_transfers(func, args, kwargs, out)
        self._carry_values(func, args, kwargs, out)
        on_device = any(t.device.type == "cuda" for t in find_tensors(out))
        if on_device and not self._is_transfer(func, args):
            operator = estimate_operator(func, args, kwargs, out, self.used_positions)
            if operator is not None:
                self._tally.operators.append(operator)
        return out

    def _count_wait(self, what: str) -> None:
        self.forbid(what)
        self._tally.synchronisations[f"{what} at {_find_code_line()}"] += 1

    def _replace_masks(self, func: Any, args: Any, is_on_device: bool) -> Any:
        """Replace boolean masks by indices, from the values kept on the host."""
        if is_on_device:
            self._count_wait(f"boolean index ({func._overloadpacket})")
        places: list[torch.Tensor | None] = []
        for index in args[1]:
            if index is None or index.dtype != torch.bool:
                places.append(index)
                continue
            values = self._values_of(index)
            if values is None:
                raise UnknownValuesError(
                    f"a mask of unknown values at {_find_code_line()}"
                )
            with _disable_current_modes():
                positions = values.nonzero().unbind(dim=1)
            places += [self._make_fake(number, index.device) for number in positions]
        return (args[0], places, *args[2:])

    def _compute_data_dependent(
        self, func: Any, args: Any, kwargs: dict[str, Any], is_on_device: bool
    ) -> Any:
        """Compute an operator that depends on values, from the values kept."""
        if is_on_device:
            self._count_wait(str(func._overloadpacket))
        known, args, kwargs = self._replace_by_values((args, kwargs))
        if not known:
            raise UnknownValuesError(
                f"{func} depends on values that only a device knows, "
                f"at {_find_code_line()}"
            )
        with _disable_current_modes():
            real = func(*args, **kwargs)
        device = DEVICE if is_on_device else torch.device("cpu")
        return tree_map_only(torch.Tensor, lambda t: self._make_fake(t, device), real)

    def _make_fake(self, real: torch.Tensor, device: torch.device) -> torch.Tensor:
        fake: torch.Tensor = aten.empty.memory_format(
            real.shape, dtype=real.dtype, device=device
        )
        self._values[fake] = real
        return fake

    def _is_transfer(self, func: Any, args: Any) -> bool:
        """Return True if the operator only copies values from the host."""
        source = args[1] if func._overloadpacket is aten.copy_ else next(iter(args), 0)
        return (
            func._overloadpacket in _COPIES
            and isinstance(source, torch.Tensor)
            and source.device.type == "cpu"
        )

    def _count_transfers(
        self, func: Any, args: Any, kwargs: dict[str, Any], out: Any
    ) -> None:
        packet = func._overloadpacket
        targets = {t.device.type for t in find_tensors(out)}
        sources = list(find_tensors((args, kwargs)))
        non_blocking = bool(kwargs.get("non_blocking"))
        if packet is aten.copy_:
            sources = [args[1]]
            non_blocking = bool(args[2]) if len(args) > 2 else non_blocking
        kinds = {t.device.type for t in sources}
        if targets == {"cpu"} and "cuda" in kinds and not non_blocking:
            self._count_wait(f"copy to the host ({packet})")
        if "cuda" not in targets:
            return
        if self._is_transfer(func, args):
            self.forbid(f"copy of {sources[0].numel()} values from the host")
            if not (non_blocking and sources[0] in self._pinned):
                self._count_wait(f"blocking copy to the device ({packet})")
        elif any(t.device.type == "cpu" and t.dim() for t in sources):
            self._count_wait(f"blocking copy to the device (argument of {packet})")

    def _carry_values(
        self, func: Any, args: Any, kwargs: dict[str, Any], out: Any
    ) -> None:
        """Compute the outputs' values if those of all inputs are known."""
        outputs = list(find_tensors(out))
        given = any(True for _ in find_tensors((args, kwargs)))
        is_small = all(t.numel() <= _MAX_NUM_VALUES for t in outputs)
        known, real_args, real_kwargs = False, args, kwargs
        if is_small and (given or func._overloadpacket in _VALUE_FACTORIES):
            known, real_args, real_kwargs = self._replace_by_values((args, kwargs))
        if not known:
            self._forget_written(func, args, kwargs)
            return
        if "device" in real_kwargs:
            real_kwargs["device"] = torch.device("cpu")
        real_kwargs.pop("pin_memory", None)
        try:
            with _disable_current_modes():
                real = func(*real_args, **real_kwargs)
        except RuntimeError:  # not implemented on a CPU
            self._forget_written(func, args, kwargs)
            return
        for tensor, value in zip(outputs, find_tensors(real), strict=True):
            self._values[tensor] = value

    def _replace_by_values(
        self, arguments: tuple[Any, Any]
    ) -> tuple[bool, Any, dict[str, Any]]:
        unknown = []

        def real_of(tensor: torch.Tensor) -> torch.Tensor:
            values = self._values_of(tensor)
            if values is None:
                unknown.append(tensor)
                return tensor
            return values

        args, kwargs = tree_map_only(torch.Tensor, real_of, arguments)
        return not unknown, args, dict(kwargs)

    def _values_of(self, tensor: torch.Tensor) -> torch.Tensor | None:
        if not isinstance(tensor, FakeTensor):
            return tensor if tensor.numel() <= _MAX_NUM_VALUES else None
        values: torch.Tensor | None = self._values.get(tensor)
        if values is None or values.untyped_storage()._cdata in self._stale:
            return None
        return values

    def _forget_written(self, func: Any, args: Any, kwargs: dict[str, Any]) -> None:
        """Forget values that an operator with unknown inputs has overwritten."""
        for tensor in find_written_inputs(func, args, kwargs):
            values = self._values.get(tensor)
            if values is not None:
                # Keep the storage, so that no other one gets its address.
                storage = values.untyped_storage()
                self._stale[storage._cdata] = storage


class _Calls(TorchFunctionMode):
    """Replacement of calls that dispatch modes miss, such as `torch.tensor`."""

    def __init__(self, fake: FakeDevice) -> None:
        super().__init__()
        self._fake = fake

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.tensor and not isinstance(args[0], torch.Tensor):
            # torch.tensor reads tensors in a list without a call of any mode.
            args = tree_map_only(torch.Tensor, torch.Tensor.item, args)
        if func is torch.Tensor.pin_memory:
            out = args[0]
        elif not kwargs.pop("pin_memory", False):
            return func(*args, **kwargs)
        else:
            out = func(*args, **kwargs)
        self._fake.pin(out)
        return out


@contextmanager
def fake_cuda(capability: tuple[int, int] = (9, 0)) -> Iterator[FakeDevice]:
    """Give torch one fake CUDA device of the given compute capability.

    Tensors made in this context are fake on every device; real ones are accepted.
    """
    fake = FakeDevice()

    def to_list(tensor: FakeTensor) -> Any:
        return fake.read(tensor)

    with ExitStack() as stack:
        enter = stack.enter_context
        stack.callback(attention.has_operator.cache_clear)
        attention.has_operator.cache_clear()
        enter(
            mock.patch.object(
                torch.cuda, "get_device_capability", return_value=capability
            )
        )
        # torch's own `tolist` reads each value separately.
        enter(mock.patch.object(FakeTensor, "tolist", to_list))
        enter(FakeTensorMode(allow_non_fake_inputs=True))
        enter(fake)
        enter(_Calls(fake))
        yield fake


def _find_code_line() -> str:
    """Return the current line of this repository, and of transformers if it runs."""
    frame = sys._getframe(1)
    library = ""
    while frame is not None:
        path = frame.f_code.co_filename
        if "site-packages" in path:
            if not library and "transformers/models" in path:
                name = path.rpartition("site-packages/")[2]
                library = f" ({name}:{frame.f_lineno})"
        elif path not in _OWN_FILES and path.startswith(str(_REPOSITORY)):
            name = str(Path(path).relative_to(_REPOSITORY))
            return f"{name}:{frame.f_lineno}{library}"
        frame = frame.f_back  # type: ignore[assignment]
    return f"an unknown line{library}"
