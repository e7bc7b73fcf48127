"""Resizing layers: Interp (bilinear), and Upsample (nearest neighbour, or SegNet's unpooling)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .base import LayerType
from .fields import Fields
from .registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from ..prototxt.layer import Layer
    from .forms.onnx_graph import OnnxGraph


@register("Interp")
class Interp(LayerType):
    """Bilinear resizing of (N, C, H, W) with aligned corners (DeepLab's and PSPNet's forks, interp_layer.cpp).

    `pad_beg` and `pad_end`, at most 0, crop the bottom first. The top's size is, in this order of precedence: that of the second
    bottom; (h - 1) / shrink_factor + 1 or h + (h - 1) (zoom_factor - 1), if only one of the factors is set; `height` and `width`;
    shrunk, then zoomed.
    """

    param_name = "interp_param"
    fields = Fields("height width zoom_factor shrink_factor pad_beg pad_end use_blob_size")
    n_bottoms = (1, 2)

    def setup(self) -> None:
        p, shape = self.param, self.bottoms[0]
        for bottom in self.bottoms:
            self.check(len(bottom) == 4, f"takes bottoms with 4 axes (N, C, H, W), not {bottom}")
        self.crop: tuple[int, int] = (-p.pad_beg, -p.pad_end)
        self.check(min(self.crop) >= 0, f"pad_beg {p.pad_beg} and pad_end {p.pad_end} must not be positive: they only crop")
        for factor in ("shrink_factor", "zoom_factor"):
            self.check(getattr(p, factor) >= 1, f"{factor} must be positive, not {getattr(p, factor)}")
        size_fields = [name for name in ("shrink_factor", "zoom_factor", "height", "width") if name in p]
        if len(self.bottoms) == 2:
            fits = not size_fields or p.use_blob_size
            self.check(fits, f"its second bottom determines the size; leave {', '.join(size_fields)} out")
        else:
            sized = "shrink_factor" in p or "zoom_factor" in p or ("height" in p and "width" in p)
            self.check(sized, "give zoom_factor, shrink_factor, or height and width")
        crop = sum(self.crop)
        self.check(min(shape[2:]) > crop, f"pad_beg {p.pad_beg} and pad_end {p.pad_end} leave nothing of its bottom {shape}")
        out = self._size(shape[2:], self.bottoms[-1][2:])
        self.check(min(out) > 0, f"height and width must be positive, not {out[0]} and {out[1]}")
        self.tops = [(*shape[:2], *out)]

    def _size(self, size: Sequence[Any], other: Sequence[Any]) -> tuple[Any, Any]:
        """Output (height, width) for those of the first and of the second bottom."""
        p = self.param
        if len(self.bottoms) == 2:
            return (other[0], other[1])
        shrink, zoom = "shrink_factor" in p, "zoom_factor" in p
        if shrink == zoom and "height" in p and "width" in p:
            return (p.height, p.width)
        out = []
        for side in size:
            side = (side - sum(self.crop) - 1) // p.shrink_factor + 1
            out.append(side + (side - 1) * (p.zoom_factor - 1))
        return (out[0], out[1])

    def forward(self, x: Tensor, *like: Tensor, blobs: Sequence[Tensor], training: bool) -> Tensor:
        from torch.nn import functional as F

        size = self._size(x.shape[2:], like[0].shape[2:] if like else ())
        begin, end = self.crop
        if begin or end:
            x = x[:, :, begin : x.shape[2] - end, begin : x.shape[3] - end]
        return F.interpolate(x, size, mode="bilinear", align_corners=True)

    @property
    def is_identity(self) -> bool:
        """Whether it does nothing to images of any size, rather than to one that happens to have the output's size."""
        return len(self.bottoms) == 1 and self.crop == (0, 0) and all(self._size(s, s) == s for s in ((8, 9), (9, 8)))

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        x, (n, c, *size) = bottoms[0], self.bottoms[0]
        if not graph.dynamic_size and self.crop == (0, 0) and self.tops[0] == self.bottoms[0]:
            return x
        h, w = (graph.dim(x, axis, side) for axis, side in zip((2, 3), size))
        begin, end = self.crop
        height, width = self._size((h, w), [graph.dim(bottoms[-1], axis, self.bottoms[-1][axis]) for axis in (2, 3)])
        if begin or end:
            x = graph.slice(x, [begin, begin], [h - end, w - end], [2, 3])
        if h - begin - end == 1:  # OpenCV 5 reads past the end when it resizes a single row
            single = w - begin - end == 1
            x = graph.add("Expand", x, graph.ints(1, 1, height, width if single else 1))
            if single:
                return x
        sizes = graph.ints(graph.dim(x, 0, n), c, height, width)
        return _resize(graph, x, sizes=sizes, mode="linear", coordinate_transformation_mode="align_corners")


@register("BilinearInterpolation")
class BilinearInterpolation(Interp):
    """Bilinear resizing of the first bottom to height and width of the second (ctensmeyer/caffe, bilinear_layer.cpp)."""

    fields = Fields()
    n_bottoms = (2, 2)

    def setup(self) -> None:
        super().setup()
        size = self.tops[0][2:]
        self.check(min(size) > 1, f"its second bottom must have more than one row and one column, not {size}: Caffe divides by 0")


@register("Upsample")
class Upsample(LayerType):
    """Nearest neighbour: each pixel of (N, C, H, W) `scale` times in both directions (MobileNet-YOLO's fork, upsample_layer.cpp).

    With a `stride` (or `stride_h` and `stride_w`), as written by darknet and Huawei's ATC, that is the number of times instead,
    and `scale` is a factor on the values.

    With a second bottom, a pooling mask, this is SegNet's unpooling: see `Unpool`.
    """

    param_name = "upsample_param"
    fields = Fields("scale scale_h scale_w pad_out_h pad_out_w upsample_h upsample_w stride stride_h stride_w")

    @classmethod
    def select(cls, layer: Layer) -> type[LayerType]:
        return Unpool if len(layer.bottoms) > 1 else cls

    def setup(self) -> None:
        p, shape = self.param, self.bottoms[0]
        self.check(len(shape) == 4, f"takes a bottom with 4 axes (N, C, H, W), not {shape}")
        unpooling = [name for name in ("upsample_h", "upsample_w", "pad_out_h", "pad_out_w") if p.get(name)]
        self.check(not unpooling, f"{', '.join(unpooling)}: only for unpooling, which needs a pooling mask as second bottom")
        self.gain = 1.0
        if any(name in p for name in ("stride", "stride_h", "stride_w")):
            self.check("scale_h" not in p and "scale_w" not in p, "give either stride, or scale_h and scale_w")
            self.scale, self.gain = (int(p.get("stride_h", p.stride)), int(p.get("stride_w", p.stride))), float(p.scale)
            self.check(min(self.scale) > 0, f"stride must be positive, not {min(self.scale)}")
        else:
            self.scale = _scales(self, 1)
        self.tops = [(*shape[:2], shape[2] * self.scale[0], shape[3] * self.scale[1])]

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        from torch.nn import functional as F

        size = (x.shape[2] * self.scale[0], x.shape[3] * self.scale[1])
        y = F.interpolate(x, size, mode="nearest")
        return y if self.gain == 1 else y * self.gain

    @property
    def is_identity(self) -> bool:
        return self.scale == (1, 1) and self.gain == 1

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        scales = graph.constant([1.0, 1.0, *self.scale])
        how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        y = _resize(graph, bottoms[0], scales=scales, mode="nearest", **how)
        return y if self.gain == 1 else graph.add("Mul", y, graph.scalar(self.gain))


class Unpool(LayerType):
    """SegNet's unpooling: each value goes to its index in the pooling mask, all else is 0 (caffe-segnet, upsample_layer.cpp).

    Bottoms (N, C, h, w) and a mask of the same shape, with indices into the planes of the top (N, C, H, W). H and W are
    `upsample_h` and `upsample_w`, or `scale` (2) times h and w, less 1 with `pad_out_h`, `pad_out_w`.
    """

    types = ("Upsample",)
    param_name = "upsample_param"
    fields = Fields("scale scale_h scale_w pad_out_h pad_out_w upsample_h upsample_w")
    n_bottoms = (2, 2)
    index_bottoms = (1,)

    def setup(self) -> None:
        p, (shape, mask) = self.param, self.bottoms
        self.check(len(shape) == 4, f"takes bottoms with 4 axes (N, C, H, W), not {shape}")
        self.check(mask == shape, f"its second bottom (the pooling mask) must have the first one's shape {shape}, not {mask}")
        self.has_size = "upsample_h" in p and "upsample_w" in p
        if self.has_size:
            sizes = f"upsample_h {p.upsample_h} and upsample_w {p.upsample_w}"
            self.check(p.upsample_h > 1 and p.upsample_w > 1, f"{sizes} must be larger than 1")
        else:
            self.scale = _scales(self, 2)
            self.check(min(self.scale) > 1, f"scale must be larger than 1, not {min(self.scale)}")
            for side, scale in zip("hw", self.scale):
                self.check(not getattr(p, f"pad_out_{side}") or scale == 2, f"pad_out_{side} needs scale 2, not {scale}")
        self.tops = [(*shape[:2], *self._size(shape[2:]))]

    def _size(self, size: Sequence[Any]) -> tuple[Any, Any]:
        p = self.param
        if self.has_size:
            return (p.upsample_h, p.upsample_w)
        return (size[0] * self.scale[0] - p.pad_out_h, size[1] * self.scale[1] - p.pad_out_w)

    def forward(self, x: Tensor, mask: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        height, width = self._size(x.shape[2:])
        plane = x.new_zeros(*x.shape[:2], height * width)
        return plane.scatter(2, mask.flatten(2).long(), x.flatten(2)).unflatten(2, (height, width))

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        (n, c, *size), x = self.bottoms[0], bottoms[0]
        height, width = self._size([graph.dim(x, axis, side) for axis, side in zip((2, 3), size)])
        zeros = graph.filled(graph.ints(graph.dim(x, 0, n), c, height * width), 0.0)
        index = graph.cast(graph.reshape(bottoms[1], [0, 0, -1]), "int64")
        plane = graph.add("ScatterElements", zeros, index, graph.reshape(x, [0, 0, -1]), axis=2)
        return graph.reshape(plane, [0, 0, height, width])


def _scales(op: LayerType, default: int) -> tuple[int, int]:
    """Scales of (height, width), from `scale` or from `scale_h` and `scale_w`."""
    p = op.param
    if "scale_h" in p or "scale_w" in p:
        op.check("scale_h" in p and "scale_w" in p and "scale" not in p, "give either scale or both scale_h and scale_w")
        scales = (p.scale_h, p.scale_w)
    else:
        scales = (p.get("scale", default),) * 2
    whole = all(scale > 0 and float(scale).is_integer() for scale in scales)
    op.check(whole, f"scale must be a positive whole number, not {scales[0]:g}")
    return (int(scales[0]), int(scales[1]))


def _resize(graph: OnnxGraph, x: str, scales: str = "", sizes: str = "", **attributes: Any) -> str:
    """Resize to `sizes` or by `scales`; before opset 13 an unused input must be an empty tensor."""
    unused = "" if graph.opset >= 13 else graph.constant([])
    return graph.add("Resize", x, unused, scales or unused, sizes, **attributes)
