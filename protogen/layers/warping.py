"""Layers that move an image along a flow field, by bilinear interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .base import LayerType
from .fields import Fields
from .loss import straight_through
from .registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from .forms.onnx_graph import OnnxGraph


class Warped(LayerType):
    """Bottoms: an image (N, C, H, W) and a flow (N, 2, H, W), of which channel 0 is along the width and 1 along the height."""

    n_bottoms = (2, 2)
    fill = 0.0  # of pixels whose position lies outside

    def setup(self) -> None:
        image, flow = self.bottoms
        self.check(len(image) == 4, f"takes an image with 4 axes (N, C, H, W), not {image}")
        wanted = (image[0], 2, *image[2:])
        self.check(flow == wanted, f"the flow for an image of shape {image} must be {wanted}, not {flow}")
        self.tops = [image]

    def inside(self, place: Tensor, size: int) -> Tensor:
        """Whether positions lie in an axis of `size` pixels."""
        raise NotImplementedError

    def forward(self, x: Tensor, *flow: Tensor, blobs: Sequence[Tensor], training: bool) -> Tensor:
        return self.moved(x, flow[0])

    def moved(self, x: Tensor, flow: Tensor) -> Tensor:
        """The image at each pixel's position plus its flow."""
        import torch

        height, width = x.shape[2:]
        places = [
            flow[:, 1] + torch.arange(height, dtype=x.dtype, device=x.device)[:, None],
            flow[:, 0] + torch.arange(width, dtype=x.dtype, device=x.device),
        ]
        inside = self.inside(places[0], height) & self.inside(places[1], width)
        y, x_place = (torch.where(inside, place, 0) for place in places)
        value = self.sample(x, y[:, None], x_place[:, None])
        return torch.where(inside[:, None], value, self.fill)

    def sample(self, image: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """Values at positions (N, 1, H, W) inside the image."""
        top, left = y.detach().floor(), x.detach().floor()
        beta, alpha = y - top, x - left
        rows = [row_of(image, side, left, alpha) for side in (top, (top + 1).clamp(max=image.shape[2] - 1))]
        return (1 - beta) * rows[0] + beta * rows[1]

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        if graph.dynamic_size:
            raise graph.refuse("warping does not allow open sizes (--dynamic-size)")
        image, flow = bottoms
        height, width = self.bottoms[0][2:]
        across, down = graph.split(flow, [1, 1], 1)
        x = graph.add("Add", across, graph.constant([[[list(range(width))]]]))
        y = graph.add("Add", down, graph.constant([[[[row] for row in range(height)]]]))
        inside = graph.add("And", self.onnx_inside(graph, x, width), self.onnx_inside(graph, y, height))
        zero, one = graph.scalar(0.0), graph.scalar(1.0)
        x, y = (graph.add("Where", inside, place, zero) for place in (x, y))
        left, top = graph.add("Floor", x), graph.add("Floor", y)
        alpha, beta = graph.add("Sub", x, left), graph.add("Sub", y, top)
        right = graph.clip(graph.add("Add", left, one), None, float(width - 1))
        bottom = graph.clip(graph.add("Add", top, one), None, float(height - 1))
        rows = []
        for row in (top, bottom):
            ends = [self._onnx_pixels(graph, image, row, column) for column in (left, right)]
            rows.append(_onnx_mix(graph, alpha, *ends))
        return graph.add("Where", inside, _onnx_mix(graph, beta, *rows), graph.scalar(self.fill))

    def onnx_inside(self, graph: OnnxGraph, place: str, size: int) -> str:
        """ONNX form of `inside`."""
        raise NotImplementedError

    def _onnx_pixels(self, graph: OnnxGraph, image: str, row: str, column: str) -> str:
        n, channels, height, width = self.bottoms[0]
        index = graph.add("Add", graph.add("Mul", row, graph.scalar(float(width))), column)
        index = graph.cast(graph.reshape(index, [0, 1, -1]), "int64")
        size = graph.ints(graph.dim(image, 0, n), channels, height * width)
        pixels = graph.add("GatherElements", graph.reshape(image, [0, 0, -1]), graph.add("Expand", index, size), axis=2)
        return graph.reshape(pixels, [0, 0, height, width])


@register("FlowWarp")
class FlowWarp(Warped):
    """The image at each pixel's position plus its flow; outside, `fill_value` (0, or NaN) (flownet2, flow_warp_layer.cpp).

    Positions from 0 to below W and H are inside; the last pixel is repeated past its middle.
    """

    param_name = "flow_warp_param"
    fields = Fields("fill_value")

    def setup(self) -> None:
        super().setup()
        self.fill = 0.0 if self.param.fill_value == "ZERO" else float("nan")

    def inside(self, place: Tensor, size: int) -> Tensor:
        return (place >= 0) & (place < size)

    def onnx_inside(self, graph: OnnxGraph, place: str, size: int) -> str:
        past = graph.add("Less", place, graph.scalar(0.0))
        return graph.add("And", graph.add("Not", past), graph.add("Less", place, graph.scalar(float(size))))


@register("Warp")
class Warp(Warped):
    """The image at each pixel's position plus its flow, 0 outside of it (NVlabs/PWC-Net, Caffe/warping_code/warp_layer.cu).

    Positions from 0 to W - 1 and H - 1 are inside. Where a position is a whole number, the gradient of the flow is the mean of
    the slopes on both sides.
    """

    def inside(self, place: Tensor, size: int) -> Tensor:
        return (place >= 0) & (place <= size - 1)

    def sample(self, image: Tensor, y: Tensor, x: Tensor) -> Tensor:
        import torch

        value = super().sample(image, y, x)
        with torch.no_grad():
            slopes = [self._slope(image, y, x), self._slope(image.transpose(2, 3), x.transpose(2, 3), y.transpose(2, 3))]
        at = [x.detach(), y.detach()]
        fixed = [torch.where(place == place.floor(), place, own) for place, own in zip(at, (x, y))]
        exact = super().sample(image, fixed[1], fixed[0])
        for place, own, slope in zip(at, (x, y), (slopes[0], slopes[1].transpose(2, 3))):
            exact = exact + torch.where(place == place.floor(), (own - place) * slope, 0)
        return straight_through(value, exact)

    def _slope(self, image: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """Mean of the differences to the pixels on the left and on the right, 0 past the edges, between the rows around `y`."""
        last = image.shape[3] - 1
        right, left = (super(Warp, self).sample(image, y, (x + step).clamp(0, last)) for step in (1, -1))
        return (right - left) / 2

    def onnx_inside(self, graph: OnnxGraph, place: str, size: int) -> str:
        outside = graph.add("Or", graph.add("Less", place, graph.scalar(0.0)),
                            graph.add("Greater", place, graph.scalar(float(size - 1))))  # fmt: skip
        return graph.add("Not", outside)


@register("Warping")
class Warping(Warped):
    """The image at each pixel's position plus its flow, 0 outside of it (Ravi-Garg/Unsupervised_Depth_Estimation,
    warping_layer.cu).

    Bottoms: an image (N, C, H, W), and the flow along the width and along the height, (N, 1, H, W) each. Positions from 0 to
    below W - 1 and H - 1 are inside. The gradient of the flow is half the difference of the top's neighbours on both sides, 0 at
    the edges; the image has none, as the fork refuses to compute it. Forks whose Warping has two bottoms are refused.
    """

    n_bottoms = (3, 3)

    def setup(self) -> None:
        image, *flows = self.bottoms
        self.check(len(image) == 4, f"takes an image with 4 axes (N, C, H, W), not {image}")
        wanted = (image[0], 1, *image[2:])
        for flow in flows:
            self.check(flow == wanted, f"each flow for an image of shape {image} must be {wanted}, not {flow}")
        self.tops = [image]

    def inside(self, place: Tensor, size: int) -> Tensor:
        return (place >= 0) & (place < size - 1)

    def forward(self, x: Tensor, *flow: Tensor, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch

        top = self.moved(x.detach(), torch.cat(flow, 1).detach())
        slopes = [_central_slope(top, 3), _central_slope(top, 2)]
        for part, slope in zip(flow, slopes):
            top = top + (part - part.detach()) * slope
        return top

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        image, *flows = bottoms
        return super().onnx(graph, [image, graph.add("Concat", *flows, axis=1)], blobs)

    def onnx_inside(self, graph: OnnxGraph, place: str, size: int) -> str:
        past = graph.add("Less", place, graph.scalar(0.0))
        return graph.add("And", graph.add("Not", past), graph.add("Less", place, graph.scalar(float(size - 1))))


def _central_slope(x: Tensor, axis: int) -> Tensor:
    """Half the difference of the neighbours on both sides along an axis, 0 at its ends."""
    from torch.nn import functional as F

    size = x.shape[axis]
    if size < 3:
        return x * 0
    slope = (x.narrow(axis, 2, size - 2) - x.narrow(axis, 0, size - 2)) / 2
    return F.pad(slope, (1, 1) if axis == 3 else (0, 0, 1, 1))


def row_of(image: Tensor, row: Tensor, left: Tensor, alpha: Tensor) -> Tensor:
    """Values between the columns `left` and the next ones, in whole rows `row`."""
    channels, (height, width) = image.shape[1], image.shape[2:]
    flat = image.flatten(2)

    def pixels(column: Tensor) -> Tensor:
        index = (row * width + column).long().flatten(2).expand(-1, channels, -1)
        return flat.gather(2, index).unflatten(2, (height, width))

    return (1 - alpha) * pixels(left) + alpha * pixels((left + 1).clamp(max=width - 1))


def _onnx_mix(graph: OnnxGraph, share: str, first: str, second: str) -> str:
    """(1 - share) * first + share * second."""
    rest = graph.add("Sub", graph.scalar(1.0), share)
    return graph.add("Add", graph.add("Mul", rest, first), graph.add("Mul", share, second))
