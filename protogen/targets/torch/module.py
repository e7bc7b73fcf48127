"""`NetModule`, the PyTorch module of a net, which runs one submodule per layer in order."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ProtogenError

_numbers = itertools.count()


@dataclass(frozen=True)
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
        values = self._run(inputs, keep=False)
        if len(self._outputs) == 1:
            return values[self._outputs[0]]
        return tuple(values[number] for number in self._outputs)

    def blobs(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Return every blob by name, after the last layer that overwrites it in place."""
        values = self._run(inputs, keep=True)
        return {name: values[number] for name, number in self._blobs.items()}

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
        values = self._run(inputs, keep=False, losses=terms)
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

    def _run(self, inputs: Sequence[Tensor], keep: bool, losses: list[Tensor] | None = None) -> dict[int, Tensor]:
        """Run the layers and return the values, all of them if `keep`; append each weighted loss to `losses`."""
        if len(inputs) != len(self.input_names):
            raise ProtogenError(
                f"this net takes {len(self.input_names)} inputs ({', '.join(self.input_names)}), not {len(inputs)}"
            )
        values = dict(zip(self._inputs, inputs))
        for step in self._steps:
            bottoms = [values[number] for number in step.reads]
            for i in step.cut:
                bottoms[i] = bottoms[i].detach()
            tops = getattr(self, step.module)(*bottoms)
            values.update(zip(step.makes, [tops] if isinstance(tops, Tensor) and len(step.makes) == 1 else tops))
            if losses is not None:
                losses += [values[number].sum() * weight for number, weight in step.losses.items()]
            if not keep:
                for number in step.dead:
                    del values[number]
        return values
