"""`NetModule`, the PyTorch module of a net, which runs one submodule per layer in order."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ProtogenError, did_you_mean

_numbers = itertools.count()


@dataclass(frozen=True, eq=False)
class Step:
    """Execution of one layer; values are numbered.

    Attributes:
        module: name of its submodule.
        reads, makes: its input and output values.
        losses: weights of those outputs that count in the loss.
        cut: indices of inputs that get no gradient (`propagate_down: false`).
        dead: values that no later layer needs.
    """

    module: str
    reads: tuple[int, ...]
    makes: tuple[int, ...]
    losses: Mapping[int, float] = field(default_factory=dict)
    cut: tuple[int, ...] = ()
    dead: tuple[int, ...] = ()


class NetModule(nn.Module):
    """A Caffe net as a PyTorch module, with submodules named after the layers and run in the file's order.

    Call it with one tensor per input, in the order of `input_names`; it returns one tensor, or a tuple in the order of
    `output_names`. Names that PyTorch does not allow for a submodule (with a dot or quotation mark, or an attribute of this class
    such as "loss") get underscores; `module_names` maps each layer's name to its submodule's.

    Args:
        inputs, outputs: value numbers by blob name.
        blobs: numbers of the last value of every blob, by name.
    """

    def __init__(self, inputs: Mapping[str, int], outputs: Mapping[str, int], blobs: Mapping[str, int]) -> None:
        super().__init__()
        self.input_names, self.output_names = list(inputs), list(outputs)
        self.module_names: dict[str, str] = {}
        self._inputs, self._outputs, self._blobs = list(inputs.values()), list(outputs.values()), dict(blobs)
        self._steps: list[Step] = []
        self._states_loss = False
        self._blobs_of: dict[str, list[tuple[str, str, tuple[int, ...]]]] = {}
        self._own_forward()

    def _own_forward(self) -> None:
        """Give this net its own code object: `torch.compile` caches by code, and rejects the ninth net that shares one."""
        function = NetModule.forward
        code = function.__code__.replace(co_name=f"forward_{next(_numbers)}")
        own = FunctionType(code, function.__globals__, "forward", function.__defaults__, function.__closure__)
        own.__doc__ = function.__doc__
        self.__dict__["forward"] = MethodType(own, self)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "forward"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._own_forward()

    def add_layer(
        self, layer: str, module: nn.Module, step: Step, states_loss: bool, blobs: Sequence[tuple[str, tuple[int, ...]]]
    ) -> None:
        """Append a layer.

        Args:
            layer: its name in the net.
            module: its submodule.
            step: its execution.
            states_loss: whether it is a loss layer or has a loss_weight, even if 0.
            blobs: names and Caffe's shapes of its learnable blobs.
        """
        self.add_module(step.module, module)
        self._steps.append(step)
        self._states_loss = self._states_loss or states_loss
        if blobs or layer not in self.module_names:  # layers may share a name, but only one has blobs
            self.module_names[layer] = step.module
            self._blobs_of[layer] = [(step.module, name, shape) for name, shape in blobs]

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the outputs as one tensor, or as a tuple in the order of `output_names`."""
        values = self._run(inputs)
        if len(self._outputs) == 1:
            return values[self._outputs[0]]
        return tuple(values[number] for number in self._outputs)

    def blobs(self, *inputs: Tensor, names: Collection[str] | None = None) -> dict[str, Tensor]:
        """Return blobs by name, after the last layer that overwrites each in place.

        Args:
            inputs: as for the module itself.
            names: those wanted, every one by default; only the layers that they depend on run.

        Raises:
            ProtogenError: no blob has that name.

        >>> import protogen
        >>> module = protogen.models.lenet().to_torch()
        >>> {name: tuple(blob.shape) for name, blob in module.blobs(torch.zeros(1, 1, 28, 28), names=["pool1", "ip1"]).items()}
        {'pool1': (1, 20, 12, 12), 'ip1': (1, 500)}
        """
        numbers = self._numbers_of(names)
        values = self._run(inputs, kept=set(numbers.values()), needed=None if names is None else self._needed(numbers.values()))
        return {name: values[number] for name, number in numbers.items()}

    def each_blob(self, *inputs: Tensor, names: Collection[str] | None = None) -> Iterator[tuple[str, Tensor]]:
        """Yield the blobs of `blobs` one by one as layers make them, and keep none for longer than layers need it.

        Args:
            inputs, names: as for `blobs`.

        Raises:
            ProtogenError: no blob has that name.
        """
        wanted: dict[int, list[str]] = {}
        for name, number in self._numbers_of(names).items():
            wanted.setdefault(number, []).append(name)
        needed = self._needed(wanted)
        values = self._fed(inputs)
        for number in self._inputs:
            yield from ((name, values[number]) for name in wanted.get(number, ()))
        for step in self._steps:
            if step in needed:
                self._compute(step, values)
                for number in step.makes:
                    yield from ((name, values[number]) for name in wanted.get(number, ()))
            for number in step.dead:
                values.pop(number, None)

    def loss(self, *inputs: Tensor) -> Tensor:
        """Return the net's loss as Caffe does: the sum of the loss tops times their `loss_weight` (by default 1 for loss layers).

        Tops of weight 0 are ignored, even if infinite or NaN; if there are no others, the loss is 0 and `backward()` sets no
        gradients.

        Raises:
            ProtogenError: the net has no loss layer and no loss_weight.
        """
        if not self._states_loss:
            raise ProtogenError("this net has no loss: no loss layer and no loss_weight in this phase")
        terms: list[Tensor] = []
        values = self._run(inputs, losses=terms)
        if not terms:
            like = next(iter(values.values()), torch.zeros(()))
            return torch.zeros((), device=like.device, requires_grad=True)
        return torch.stack(terms).sum()

    def caffe_params(self, layer: str) -> list[Tensor]:
        """Return a layer's learnable blobs as views, in Caffe's order and shape; [] for a layer without any.

        Raises:
            ProtogenError: no layer has that name.
        """
        return [tensor.view(shape) for tensor, shape in self._tensors(layer)]

    def caffe_grads(self, layer: str) -> list[Tensor | None]:
        """Return the gradients of `caffe_params(layer)` after `backward()`; None for blobs without one (such as statistics).

        Raises:
            ProtogenError: no layer has that name.
        """
        return [None if t.grad is None else t.grad.view(shape) for t, shape in self._tensors(layer)]

    def _tensors(self, layer: str) -> list[tuple[Tensor, tuple[int, ...]]]:
        if layer not in self._blobs_of:
            raise ProtogenError(f"no layer {layer!r} in this module")
        return [(getattr(getattr(self, module), name), shape) for module, name, shape in self._blobs_of[layer]]

    def _numbers_of(self, names: Collection[str] | None) -> dict[str, int]:
        """Return the numbers of some blobs' values, in the net's order.

        Raises:
            ProtogenError: no blob has that name; the message suggests the nearest one.
        """
        for name in () if names is None else names:
            if name not in self._blobs:
                raise ProtogenError(f"no blob {name!r} in this module{did_you_mean(name, self._blobs)}")
        return {name: number for name, number in self._blobs.items() if names is None or name in names}

    def _needed(self, numbers: Collection[int]) -> set[Step]:
        """Return the steps that some values depend on."""
        missing, needed = set(numbers), set()
        for step in reversed(self._steps):
            if not missing.isdisjoint(step.makes):
                needed.add(step)
                missing.update(step.reads)
        return needed

    def _run(
        self,
        inputs: Sequence[Tensor],
        kept: Collection[int] = (),
        needed: Collection[Step] | None = None,
        losses: list[Tensor] | None = None,
    ) -> dict[int, Tensor]:
        """Run the layers, all or those `needed`; return the outputs and the values `kept`; append weighted losses to `losses`."""
        values = self._fed(inputs)
        for step in self._steps:
            if needed is None or step in needed:
                self._compute(step, values)
                if losses is not None:
                    losses += [values[number].sum() * weight for number, weight in step.losses.items()]
            for number in step.dead:
                if number not in kept:
                    values.pop(number, None)
        return values

    def _fed(self, inputs: Sequence[Tensor]) -> dict[int, Tensor]:
        if len(inputs) != len(self.input_names):
            raise ProtogenError(
                f"this net takes {len(self.input_names)} inputs ({', '.join(self.input_names)}), not {len(inputs)}"
            )
        return dict(zip(self._inputs, inputs))

    def _compute(self, step: Step, values: dict[int, Tensor]) -> None:
        """Run one layer on the values, and add what it makes."""
        bottoms = [values[number] for number in step.reads]
        for i in step.cut:
            bottoms[i] = bottoms[i].detach()
        tops = getattr(self, step.module)(*bottoms)
        values.update(zip(step.makes, [tops] if isinstance(tops, Tensor) and len(step.makes) == 1 else tops))
