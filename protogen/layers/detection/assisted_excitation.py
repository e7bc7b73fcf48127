"""AssistedExcitation: excites the boxes while a YOLO trains (assisted_excitation_layer.cpp of eric612/MobileNet-YOLO)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from ..base import LayerType, Shape, count
from ..registry import register
from .box_similarity import corners
from .yolo_grid import ground_truth

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@register("AssistedExcitation")
class AssistedExcitation(LayerType):
    """Adds the channels' mean inside the boxes in training; an identity in inference (assisted_excitation_layer.cpp).

    Bottoms: x (N, C, H, W), labels (N, 1, 300, 5), and the mean (N, H, W) of the channels; only x gets a gradient. The fork adds
    the first image's part of the mask to every image, which is empty for all but the first: as there, only that is excited.

    The fork scales the mean by cos(pi / 2 * iteration / (0.75 * max_iter)), but at least 0. As a net does not know the iteration,
    the factor is the module's buffer `strength`, initially 1, which a training loop may set. Deployed nets are published without
    this layer, which corresponds to the end of training.

    >>> import protogen
    >>> net = protogen.loads('''
    ... layer { name: "in" type: "Input" top: "x" top: "label" top: "mean" input_param { shape { dim: 1 dim: 8 dim: 4 dim: 4 }
    ...   shape { dim: 1 dim: 1 dim: 300 dim: 5 } shape { dim: 1 dim: 4 dim: 4 } } }
    ... layer { name: "AE" type: "AssistedExcitation" bottom: "x" bottom: "label" bottom: "mean" top: "y" }''', phase="TRAIN")
    >>> module = net.to_torch()
    >>> module.AE.strength.fill_(0.5)
    tensor(0.5000)
    """

    n_bottoms = (3, 3)
    index_bottoms: ClassVar[tuple[int, ...]] = (1,)
    only_trains = True
    onnx_note = "it is for training only; in inference it passes its first bottom on"
    passes_first = True

    def setup(self) -> None:
        x, label, mean = self.bottoms
        self.check(len(x) == 4, f"needs a bottom (N, C, H, W), not {x}")
        self.check(label[:1] == x[:1] == mean[:1], f"bottoms {x}, {label} and {mean} must have the same first axis (the batch)")
        values = count(label[1:])
        self.check(
            values > 0 and values % 5 == 0, f"needs labels (N, 1, 300, 5), rows of class, x, y, width and height, not {label}"
        )
        plane: Shape = (x[0], *x[2:])
        self.check(count(mean) == count(plane), f"needs the mean of the channels {plane}, not {mean}")
        self.tops = [x]

    @property
    def is_identity(self) -> bool:
        return True

    def module(self) -> torch.nn.Module:
        import torch

        from ..forms.torch_module import LayerModule

        module = LayerModule(self)
        module.register_buffer("strength", torch.ones(()), persistent=False)
        module.blob_names = ["strength"]
        return module

    def forward(self, x: Tensor, label: Tensor, mean: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch

        if not training:
            return x
        height, width = x.shape[2:]
        truth = ground_truth(label[:1].detach(), x[:1])
        size = x.new_tensor([width, height])
        low, high = corners(truth.box).split(2, -1)
        low = torch.minimum((low * size).trunc().clamp(min=0), size - 1)[..., None]
        # The fork rounds up in double precision.
        high = torch.maximum(torch.minimum(((high * size).double() + 0.95).trunc(), size)[..., None], low + 1)
        across, down = (torch.arange(length, device=x.device) for length in (width, height))
        columns = (across >= low[:, :, 0]) & (across < high[:, :, 0])  # (1, R, W)
        rows = (down >= low[:, :, 1]) & (down < high[:, :, 1])
        covered = (rows[..., None] & columns[:, :, None] & truth.compared[..., None, None]).any(1)
        added = (blobs[0].to(x.dtype) * mean[:1].detach().reshape(1, height, width)).masked_fill(~covered, 0)
        return torch.cat([x[:1] + added[:, None], x[1:]])
