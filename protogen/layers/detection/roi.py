"""Region pooling: ROIPooling (Fast R-CNN) and PSROIPooling (R-FCN)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..base import LayerType
from ..fields import Fields
from ..registry import register

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..forms.onnx_graph import OnnxGraph, Size

CHUNK = 1 << 24  # limit on the values held at once while rows of regions are compared


def away(x: Tensor) -> Tensor:
    """Round to whole numbers, halves away from zero, like C's `round` (`torch.round` takes halves to the even number).

    >>> import torch
    >>> away(torch.tensor([0.5, 1.5, -2.5, 2.4]))
    tensor([ 1.,  2., -3.,  2.])
    """
    whole = x.trunc()
    return whole + x.sign() * ((x - whole).abs() >= 0.5)


class RegionPooling(LayerType):
    """Pools regions (R, 5), each its image's index and x1, y1, x2, y2 in image coordinates, of a feature map (N, C, H, W).

    Attributes:
        pooled: (height, width) of the top.
        scale: factor from image to feature map coordinates.
    """

    n_bottoms = (2, 2)
    pooled: tuple[int, int]
    scale: float

    def check_regions(self) -> None:
        """Check the shapes of both bottoms.

        Raises:
            LayerError: one does not fit.
        """
        data, regions = self.bottoms
        self.check(len(data) == 4, f"the feature map must have 4 axes (N, C, H, W), not {data}")
        values = 1
        for dim in regions[1:]:
            values *= dim
        self.check(len(regions) > 1 and values == 5, f"regions must have 5 values each (image, x1, y1, x2, y2), not {regions}")

    def example(self, index: int, rng: np.random.Generator) -> np.ndarray | None:
        """Regions within the map; see `LayerType.example`."""
        import numpy as np

        if index != 1:
            return None
        (images, _, height, width), shape = self.bottoms
        size = np.array([width, height]) / self.scale
        corners = np.sort(rng.random((shape[0], 2, 2)) * size, 1)  # x1, y1 and x2, y2
        image = rng.integers(0, images, (shape[0], 1))
        return np.concatenate([image, corners.reshape(-1, 4)], 1).reshape(shape)

    def bounds(self, regions: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Cells: first and end row (R, pooled height), first and end column (R, pooled width); ends are exclusive."""
        raise NotImplementedError


@register("ROIPooling")
class ROIPooling(RegionPooling):
    """The maximum of each cell of a grid laid over each region: (R, C, pooled_h, pooled_w).

    A region's corners are scaled and rounded; its last row and column are inclusive, and it is at least 1x1. Cells extend from
    the floor of their start to the ceiling of their end, so they may overlap. A cell outside the map is 0. Of equal maxima, the
    first gets the gradient; regions get none (caffe/layers/roi_pooling_layer.cpp, Fast R-CNN's fork).

    With a `pad_ratio`, each side of a region first moves out by that fraction of the region's width or height, last pixel
    included; the padded region is not clipped to the image before the grid is laid over it (the same file in MS-CNN and Cascade
    R-CNN).
    """

    param_name = "roi_pooling_param"
    fields = Fields("pooled_h pooled_w spatial_scale pooled_size pad_ratio")

    def setup(self) -> None:
        p = self.param
        both = list(p.pooled_size)
        self.check(len(both) <= 2, f"pooled_size takes one number, or height and width, not {len(both)} numbers")
        self.pooled = (both[0], both[-1]) if both else (p.pooled_h, p.pooled_w)
        self.check(min(self.pooled) > 0, f"pooled_h and pooled_w must be positive, not {self.pooled[0]}, {self.pooled[1]}")
        self.scale = p.spatial_scale
        self.pad: float = p.pad_ratio
        self.check_regions()
        self.tops = [(self.bottoms[1][0], self.bottoms[0][1], *self.pooled)]

    def forward(self, x: Tensor, regions: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch

        channels, height, width = x.shape[1:]
        regions = regions.detach().reshape(-1, 5).float()
        image = regions[:, 0].long()
        with torch.no_grad():
            top, bottom, left, right = self.bounds(regions, (height, width))
            index = self._first_maxima(x, image, top, bottom, left, right)
        empty = ((bottom <= top)[:, :, None] | (right <= left)[:, None, :]).unsqueeze(1)
        channel = torch.arange(channels, device=x.device)[:, None, None]
        place = (image[:, None, None, None] * channels + channel) * (height * width) + index
        y = x.reshape(-1)[place.masked_fill(empty, 0)]
        return torch.where(empty, torch.zeros_like(y), y)

    def bounds(self, regions: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        import torch

        result = []
        for axis, pooled in enumerate(self.pooled):
            start, end = regions[:, 2 - axis, None], regions[:, 4 - axis, None]
            if self.pad:
                margin = (end - start + 1) * self.pad
                start, end = start - margin, end + margin
            start, end = away(start * self.scale), away(end * self.scale)
            bin_size = (end - start + 1).clamp(min=1) / pooled
            cell = torch.arange(pooled, device=regions.device, dtype=regions.dtype)
            first, last = (cell * bin_size).floor() + start, ((cell + 1) * bin_size).ceil() + start
            result += [first.clamp(0, size[axis]).long(), last.clamp(0, size[axis]).long()]
        return result[0], result[1], result[2], result[3]

    def _first_maxima(self, x: Tensor, image: Tensor, top: Tensor, bottom: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Index in the H * W plane of each cell's first maximum (R, C, pooled_h, pooled_w); arbitrary for empty cells.

        First along columns: the maxima of 1, 2, 4, ... neighbours are computed once, and two of these cover any width. Then
        along rows. Earlier places win ties, which yields the first maximum in row-major order.
        """
        import torch
        from torch.nn import functional as F

        height, width = x.shape[2:]
        levels = [F.max_pool2d(x, (1, 1 << k), 1, return_indices=True) for k in range(width.bit_length())]
        values = torch.stack([F.pad(value, (0, width - value.shape[3])) for value, _ in levels])
        places = torch.stack([F.pad(place, (0, width - place.shape[3])) for _, place in levels])
        powers = torch.tensor([1 << k for k in range(len(levels))], device=x.device)
        span = (right - left).clamp(min=1)
        level = (span.unsqueeze(2) >= powers).sum(2) - 1
        second = right - powers[level]
        rows = torch.arange(height, device=x.device)
        inside = (top.unsqueeze(2) <= rows) & (rows < bottom.unsqueeze(2))  # (R, pooled_h, H)
        parts = []
        step = max(1, CHUNK // max(1, left.shape[1] * x.shape[1] * height))
        for some in torch.arange(len(image), device=x.device).split(step):
            at = (level[some], image[some].unsqueeze(1))
            first, other = left[some].clamp(max=width - 1), second[some].clamp(min=0)
            a, b = values[at[0], at[1], :, :, first], values[at[0], at[1], :, :, other]  # (R, pooled_w, C, H)
            place = torch.where(b > a, places[at[0], at[1], :, :, other], places[at[0], at[1], :, :, first])
            best = torch.where(b > a, b, a)
            cells = []
            for i in range(self.pooled[0]):
                row = best.masked_fill(~inside[some, i][:, None, None, :], -torch.inf).argmax(3, keepdim=True)
                cells.append(place.gather(3, row).squeeze(3))
            parts.append(torch.stack(cells, 3).permute(0, 2, 3, 1))
        return torch.cat(parts)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        """Emit table look-ups, as OpenCV 5 has no MaxRoiPool: the maxima of 1, 2, 4, ... rows and columns are computed once, and
        four of these windows cover any cell. The number of windows depends on the size; a dynamic size needs MaxRoiPool, of which
        ONNX Runtime has no kernel for opset 22.
        """
        regions = bottoms[1]
        if self.pad:
            regions = self._onnx_padded(graph, graph.reshape(regions, [-1, 5]))
        if graph.dynamic_size:
            if graph.opset > 21:
                raise graph.refuse("a dynamic size needs MaxRoiPool, which ONNX Runtime has up to opset 21 only: choose opset 21")
            regions = graph.reshape(regions, [-1, 5])
            return graph.add("MaxRoiPool", bottoms[0], regions, pooled_shape=list(self.pooled), spatial_scale=self.scale)
        _, channels, height, width = self.bottoms[0]
        regions = graph.reshape(regions, [-1, 5, 1, 1])
        image, left, top, right, bottom = graph.split(regions, [1] * 5, 1)
        rows, inside_rows = self._onnx_windows(graph, top, bottom, height, [1, 1, -1, 1])
        columns, inside_columns = self._onnx_windows(graph, left, right, width, [1, 1, 1, -1])
        table = graph.transpose(bottoms[0], [0, 2, 3, 1])  # channels last: looking up copies them in one go
        for axis, size in ((1, height), (2, width)):
            table = _onnx_maxima(graph, table, axis, size)
        table = graph.reshape(table, [-1, channels])
        high, wide = height * height.bit_length(), width * width.bit_length()
        image = graph.add("Mul", graph.cast(image, "int64"), graph.constant(high * wide, "int64"))
        starts = [graph.add("Add", image, graph.add("Mul", row, graph.constant(wide, "int64"))) for row in rows]
        parts = [graph.add("Gather", table, graph.add("Add", start, column)) for start in starts for column in columns]
        inside = graph.unsqueeze(graph.add("And", inside_rows, inside_columns), [4])
        y = graph.add("Where", inside, graph.add("Max", *parts), graph.scalar(0.0))
        return graph.transpose(graph.squeeze(y, [1]), [0, 3, 1, 2])

    def _onnx_padded(self, graph: OnnxGraph, regions: str) -> str:
        """Regions (R, 5) whose sides have moved out by `pad_ratio`."""
        image, low, high = graph.split(regions, [1, 2, 2], 1)
        extent = graph.add("Add", graph.add("Sub", high, low), graph.scalar(1.0))
        margin = graph.add("Mul", extent, graph.scalar(self.pad))
        return graph.add("Concat", image, graph.add("Sub", low, margin), graph.add("Add", high, margin), axis=1)

    def _onnx_windows(self, graph: OnnxGraph, start: str, end: str, size: int, shape: Sequence[int]) -> tuple[list[str], str]:
        """Indices of each cell's first and last window along an axis of `_onnx_maxima`, int64, and a mask of non-empty cells."""
        import numpy as np

        pooled, scale = self.pooled[list(shape).index(-1) - 2], graph.scalar(self.scale)
        start, end = (graph.round_away(graph.add("Mul", edge, scale)) for edge in (start, end))
        one = graph.scalar(1.0)
        extent = graph.add("Max", graph.add("Add", graph.add("Sub", end, start), one), one)
        bin_size = graph.add("Div", extent, graph.scalar(float(pooled)))
        cell = np.arange(pooled).reshape(shape)
        edges = []
        for op_type, cells in (("Floor", cell), ("Ceil", cell + 1)):
            edge = graph.add(op_type, graph.add("Mul", graph.constant(cells), bin_size))
            edges.append(graph.clip(graph.add("Add", edge, start), 0.0, float(size)))
        first, last = edges
        span = graph.cast(graph.clip(graph.add("Sub", last, first), 1.0, float(size)), "int64")
        levels = [max(0, n.bit_length() - 1) for n in range(size + 1)]  # by span: level of the largest window that fits
        shift = graph.add("Gather", graph.constant([float(level * size) for level in levels]), span)
        window = graph.add("Gather", graph.constant([float(1 << level) for level in levels]), span)
        places = [graph.clip(first, None, float(size - 1)), graph.clip(graph.add("Sub", last, window), 0.0, None)]
        places = [graph.cast(graph.add("Add", place, shift), "int64") for place in places]
        return places, graph.add("Less", first, last)


def _onnx_maxima(graph: OnnxGraph, x: str, axis: int, size: int) -> str:
    """Maxima of 1, 2, 4, ... values from each place on, concatenated along the axis (windows are clipped at the end)."""
    levels, reach = [x], 1
    while 2 * reach <= size:
        behind = graph.ints(*(min(i + reach, size - 1) for i in range(size)))
        x = graph.add("Max", x, graph.add("Gather", x, behind, axis=axis))
        levels.append(x)
        reach *= 2
    return graph.add("Concat", *levels, axis=axis) if len(levels) > 1 else x


@register("PSROIPooling")
class PSROIPooling(RegionPooling):
    """The average of each cell of a grid laid over each region, where each cell has its own channels: (R, D, G, G).

    With D = `output_dim` and G = `group_size`, the map has D * G * G channels, and cell (i, j) of channel d reads channel
    (d * G + i) * G + j. Corners are rounded, 1 is added to the end, then both are scaled; a region is at least 0.1 wide and
    high. A cell outside the map is 0 (caffe/layers/psroi_pooling_layer.cpp, R-FCN's fork).
    """

    param_name = "psroi_pooling_param"
    fields = Fields("spatial_scale output_dim group_size")

    def setup(self) -> None:
        p = self.param
        self.dim, self.group = p.output_dim, p.group_size
        self.check(self.dim > 0, f"output_dim must be positive, not {self.dim}")
        self.check(self.group > 0, f"group_size must be positive, not {self.group}")
        self.scale = p.spatial_scale
        self.check_regions()
        needed, channels = self.dim * self.group**2, self.bottoms[0][1]
        self.check(channels == needed, f"needs {needed} channels (output_dim * group_size^2), has {channels}")
        self.pooled = (self.group, self.group)
        self.tops = [(self.bottoms[1][0], self.dim, *self.pooled)]

    def forward(self, x: Tensor, regions: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch
        from torch.nn import functional as F

        n, _, height, width = x.shape
        regions = regions.detach().reshape(-1, 5).float()
        top, bottom, left, right = self.bounds(regions, (height, width))
        # The sum over any rectangle from cumulative sums; float64 (which Apple's GPUs lack) keeps the differences exact enough.
        wide = x if x.device.type == "mps" else x.double()
        sums = F.pad(wide.cumsum(2).cumsum(3), (1, 0, 1, 0)).reshape(n, self.dim, self.group, self.group, height + 1, width + 1)
        cell = torch.arange(self.group, device=x.device)
        image = regions[:, 0].long()[:, None, None]

        def corner(row: Tensor, column: Tensor) -> Tensor:
            return sums[image, :, cell[:, None], cell, row.unsqueeze(2), column.unsqueeze(1)]  # (R, G, G, D)

        total = corner(bottom, right) - corner(top, right) - corner(bottom, left) + corner(top, left)
        area = (bottom - top).clamp(min=0).unsqueeze(2) * (right - left).clamp(min=0).unsqueeze(1)
        mean = total / area.clamp(min=1).unsqueeze(3)
        return torch.where(area.unsqueeze(3) > 0, mean, torch.zeros_like(mean)).permute(0, 3, 1, 2).to(x.dtype)

    def bounds(self, regions: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        import torch

        result = []
        for axis in range(2):
            start, end = away(regions[:, 2 - axis, None]) * self.scale, (away(regions[:, 4 - axis, None]) + 1) * self.scale
            bin_size = (end - start).clamp(min=0.1) / self.group
            cell = torch.arange(self.group, device=regions.device, dtype=regions.dtype)
            first, last = (cell * bin_size + start).floor(), ((cell + 1) * bin_size + start).ceil()
            result += [first.clamp(0, size[axis]).long(), last.clamp(0, size[axis]).long()]
        return result[0], result[1], result[2], result[3]

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        import numpy as np

        channels, *size = self.bottoms[0][1:]
        height, width = (graph.dim(bottoms[0], axis, side) for axis, side in zip((2, 3), size))
        regions = graph.reshape(bottoms[1], [-1, 5, 1, 1, 1])
        image, left, top, right, bottom = graph.split(regions, [1] * 5, 1)
        top, bottom = self._onnx_bounds(graph, top, bottom, height, [1, 1, 1, -1, 1])
        left, right = self._onnx_bounds(graph, left, right, width, [1, 1, 1, 1, -1])
        sums = graph.cast(bottoms[0], "float64")
        for axis in (2, 3):
            sums = graph.add("CumSum", sums, graph.constant(axis, "int64"))
        margins = graph.ints(0, 0, 1, 1, 0, 0, 0, 0)
        sums = graph.reshape(graph.add("Pad", sums, margins, graph.constant(0.0, "float64"), mode="constant"), [-1])

        plane = (height + 1) * (width + 1)
        index = graph.constant(np.arange(channels).reshape(1, 1, self.dim, self.group, self.group) * plane, "int64")
        image = graph.add("Mul", graph.cast(image, "int64"), graph.constant(plane * channels, "int64"))
        index = graph.add("Add", image, index)
        stride = graph.constant(width + 1, "int64")
        rows = [graph.add("Add", index, graph.add("Mul", row, stride)) for row in (top, bottom)]
        (a, b), (c, d) = ([graph.add("Gather", sums, graph.add("Add", row, column)) for column in (left, right)] for row in rows)
        total = graph.add("Add", graph.add("Sub", graph.add("Sub", d, c), b), a)
        area = graph.add("Mul", graph.add("Sub", bottom, top), graph.add("Sub", right, left))
        some = graph.add("And", graph.add("Less", top, bottom), graph.add("Less", left, right))
        area = graph.cast(graph.add("Where", some, area, graph.constant(1, "int64")), "float64")
        mean = graph.cast(graph.add("Div", total, area), "float32")
        mean = graph.add("Where", some, mean, graph.scalar(0.0))
        return graph.reshape(mean, [-1, self.dim, self.group, self.group])

    def _onnx_bounds(self, graph: OnnxGraph, start: str, end: str, size: Size, shape: Sequence[int]) -> tuple[str, str]:
        """First index and exclusive end of each cell along an axis, int64, with the cells along the -1 of `shape`."""
        import numpy as np

        scale = graph.scalar(self.scale)
        start = graph.add("Mul", graph.round_away(start), scale)
        end = graph.add("Mul", graph.add("Add", graph.round_away(end), graph.scalar(1.0)), scale)
        extent = graph.add("Max", graph.add("Sub", end, start), graph.scalar(0.1))
        bin_size = graph.add("Div", extent, graph.scalar(float(self.group)))
        cell = np.arange(self.group).reshape(shape)
        ends = []
        for op_type, cells in (("Floor", cell), ("Ceil", cell + 1)):
            edge = graph.add("Add", graph.add("Mul", graph.constant(cells), bin_size), start)
            ends.append(graph.cast(graph.clip(graph.add(op_type, edge), 0.0, size), "int64"))
        return ends[0], ends[1]
