"""The PyTorch modules a net turns into: one per layer, and the net that runs them in order."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...errors import ProtogenError, printable
from ...layers.forms.module_names import module_name

if TYPE_CHECKING:
    from ...layers.base import LayerType


_numbers = itertools.count()


class LayerModule(nn.Module):
    """A layer that holds its learnable blobs, in Caffe's shapes, and calls its type's `forward`."""

    def __init__(self, op: LayerType) -> None:
        super().__init__()
        self.op = op
        self.blob_names = [blob.name for blob in op.blobs]
        for blob in op.blobs:
            values = torch.zeros(blob.shape)
            if blob.trainable:
                self.register_parameter(blob.name, nn.Parameter(values))
            else:
                self.register_buffer(blob.name, values)

    def forward(self, *bottoms: Tensor) -> Tensor | Sequence[Tensor]:
        """The layer's top, or its tops."""
        blobs = [getattr(self, name) for name in self.blob_names]
        return self.op.forward(*bottoms, blobs=blobs, training=self.training)

    def extra_repr(self) -> str:
        """The layer's type and parameters, as `print(module)` shows them."""
        name = self.op.param_name
        text = printable(self.op.layer.type)
        if name is not None and name in self.op.layer.message:
            text += f", {', '.join(f'{k}={v!r}' for k, v in self.op.param.fields())}"
        return text


class Step:
    """One layer's turn: the submodule to call, the blobs it reads and makes, those no later layer needs, losses among them."""

    __slots__ = ("bottoms", "cut", "dead", "losses", "module", "tops")

    def __init__(
        self,
        module: str,
        bottoms: Sequence[str],
        tops: Sequence[str],
        dead: Sequence[str],
        losses: Mapping[str, float],
        cut: Sequence[int] = (),
    ) -> None:
        self.module, self.bottoms, self.tops, self.dead = module, tuple(bottoms), tuple(tops), tuple(dead)
        self.losses = {top: weight for top, weight in losses.items() if weight}
        self.cut = tuple(cut)  # indices of bottoms that get no gradient (`propagate_down: false`)


class NetModule(nn.Module):
    """A Caffe net as a PyTorch module: submodules carry the layers' names and run in the file's order.

    Call it with one tensor per input, in the order of `input_names`; it returns one tensor, or a tuple in the order
    of `output_names`. Names that PyTorch cannot give a submodule (a dot or quotation mark inside, or an attribute of this
    class such as "loss") get underscores; `module_names` maps each layer's name to its submodule's.
    """

    def __init__(self, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.input_names = list(inputs)
        self.output_names = list(outputs)
        self.module_names: dict[str, str] = {}
        self._steps: list[Step] = []
        self._states_loss = False
        self._blobs_of: dict[str, list[tuple[str, str, tuple[int, ...]]]] = {}
        self._own_forward()

    def _own_forward(self) -> None:
        """Give this net a code object of its own: `torch.compile` caches by code, and refuses the ninth net that shares one."""
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

    def add_layer(self, op: LayerType, module: nn.Module, dead: Sequence[str], losses: Mapping[str, float]) -> None:
        """Append a layer: its submodule, the blobs that die with it, and the weights of tops in the loss, if it states any."""
        name = module_name(op, self._modules)
        self.add_module(name, module)
        if op.blobs or op.layer.name not in self.module_names:
            self.module_names[op.layer.name] = name
        cut = [i for i, passes in enumerate(op.layer.message.propagate_down) if not passes]
        self._steps.append(Step(name, op.layer.bottoms, op.own_tops, dead, losses, cut))
        self._states_loss = self._states_loss or bool(losses)
        if op.blobs or op.layer.name not in self._blobs_of:  # layers may share a name, but only one has blobs
            self._blobs_of[op.layer.name] = [(name, blob.name, blob.shape) for blob in op.blobs]

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Outputs for inputs, as one tensor or as a tuple in the order of `output_names`."""
        blobs = self._run(inputs, keep=False)
        if len(self.output_names) == 1:
            return blobs[self.output_names[0]]
        return tuple(blobs[name] for name in self.output_names)

    def blobs(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Every blob by name, after the last layer that writes it in place."""
        return self._run(inputs, keep=True)

    def loss(self, *inputs: Tensor) -> Tensor:
        """The net's loss as Caffe sums it: every loss top times its `loss_weight` (by default 1 for loss layers).

        Tops of weight 0 are left out, whatever their values; where there are no others it is 0, and its `backward()` gives no
        gradients.

        Raises:
            ProtogenError: no layer of this net states a loss.
        """
        if not self._states_loss:
            raise ProtogenError("this net has no loss: no loss layer and no loss_weight in this phase")
        terms: list[Tensor] = []
        blobs = self._run(inputs, keep=False, losses=terms)
        if not terms:
            like = next(iter(blobs.values()), torch.zeros(()))
            return torch.zeros((), device=like.device, requires_grad=True)
        return torch.stack(terms).sum()

    def caffe_params(self, layer: str) -> list[Tensor]:
        """A layer's learnable blobs, live, in Caffe's order and shape; [] for a layer without any.

        Raises:
            ProtogenError: no layer has that name.
        """
        return [tensor.view(shape) for tensor, shape in self._tensors(layer)]

    def caffe_grads(self, layer: str) -> list[Tensor | None]:
        """The gradients of `caffe_params(layer)` after `backward()`; None where there is none (statistics, say)."""
        return [None if t.grad is None else t.grad.view(shape) for t, shape in self._tensors(layer)]

    def _tensors(self, layer: str) -> list[tuple[Tensor, tuple[int, ...]]]:
        if layer not in self._blobs_of:
            raise ProtogenError(f"no layer {layer!r} in this module")
        return [(getattr(getattr(self, module), name), shape) for module, name, shape in self._blobs_of[layer]]

    def _run(self, inputs: Sequence[Tensor], keep: bool, losses: list[Tensor] | None = None) -> dict[str, Tensor]:
        """Run the layers; with `keep`, no blob is let go. Each weighted loss goes to `losses` as its layer made it."""
        if len(inputs) != len(self.input_names):
            raise ProtogenError(
                f"this net takes {len(self.input_names)} inputs ({', '.join(self.input_names)}), not {len(inputs)}"
            )
        blobs = dict(zip(self.input_names, inputs))
        for step in self._steps:
            bottoms = [blobs[name] for name in step.bottoms]
            for i in step.cut:
                bottoms[i] = bottoms[i].detach()
            made = getattr(self, step.module)(*bottoms)
            if len(step.tops) == 1 and isinstance(made, Tensor):
                blobs[step.tops[0]] = made
            else:
                for name, tensor in zip(step.tops, made):
                    blobs[name] = tensor
            if losses is not None:
                losses += [blobs[top].sum() * weight for top, weight in step.losses.items()]
            if not keep:
                for name in step.dead:
                    del blobs[name]
        return blobs
