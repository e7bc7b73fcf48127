"""Layers that move, join, repeat or reduce: Reshape to Reduction."""

from __future__ import annotations

import numpy as np

from .table import Array, Row, full, ramp, v

X = ramp(2, 3, 2, 2)
UNEVEN = v(1, -2, 3, 4, -5, 6, shape=(2, 3))


def flatten(test: str, param: str, shape: tuple[int, ...]) -> Row:
    return Row(
        f"test_flatten_layer.cpp {test}",
        f'type: "Flatten" flatten_param {{ {param} }}',
        [ramp(2, 3, 6, 5)],
        [ramp(2, 3, 6, 5).reshape(shape)],
    )


def reshape(test: str, dims: str, shape: tuple[int, ...] = (), more: str = "", error: str = "") -> Row:
    text = " ".join(f"dim: {dim}" for dim in dims.split())
    x = ramp(2, 3, 6, 5)
    return Row(
        f"test_reshape_layer.cpp {test}",
        f'type: "Reshape" reshape_param {{ shape {{ {text} }} {more} }}',
        [x],
        [] if error else [x.reshape(shape)],
        error=error,
    )


def reduction(test: str, operation: str, top: Array, grads: Array, more: str = "") -> Row:
    layer = f'type: "Reduction" reduction_param {{ operation: {operation} {more} }}'
    return Row(f"test_reduction_layer.cpp {test}", layer, [UNEVEN], [top], grads=[grads * np.ones_like(UNEVEN)])


def argmax(test: str, param: str, bottom: Array | tuple[int, ...], top: Array | tuple[int, ...]) -> Row:
    return Row(f"test_argmax_layer.cpp {test}", f'type: "ArgMax" argmax_param {{ {param} }}', [bottom], [top])


def crop(
    test: str, param: str, bottoms: list[Array | tuple[int, ...]], tops: list[Array | tuple[int, ...]], **more: object
) -> Row:
    return Row(f"test_crop_layer.cpp {test}", f'type: "Crop" crop_param {{ {param} }}', bottoms, tops, **more)


SCORES = v(1, 9, 3, 7, 2, 8, shape=(2, 3))
S, A = np.sign(UNEVEN), np.abs(UNEVEN)
ROWS = [
    flatten("TestSetup", "", (2, 90)),
    flatten("TestSetupWithAxis", "axis: 2", (2, 3, 30)),
    flatten("TestSetupWithEndAxis", "end_axis: -2", (2, 18, 5)),
    flatten("TestSetupWithStartAndEndAxis", "axis: 0 end_axis: -2", (36, 5)),
    flatten("TestForward, one axis", "axis: -1", (2, 3, 6, 5)),
    Row(
        "test_flatten_layer.cpp TestSetupWithEndAxis",
        'type: "Flatten" flatten_param { axis: 2 end_axis: 0 }',
        [(2, 3, 4)],
        error="axis",
    ),
    reshape("TestFlattenOutputSizes", "0 -1", (2, 90)),
    reshape("TestFlattenOutputSizes, singletons", "0 -1 1 1", (2, 90, 1, 1)),
    reshape("TestCopyDimensions", "0 0 0 0", (2, 3, 6, 5)),
    reshape("TestInferenceOfUnspecified", "0 3 10 -1", (2, 3, 10, 3)),
    reshape("TestInferenceOfUnspecifiedWithStartAxis", "3 10 -1", (2, 3, 10, 3), "axis: 1"),
    reshape("TestInsertSingletonAxesStart", "1 1 1", (1, 1, 1, 2, 3, 6, 5), "axis: 0 num_axes: 0"),
    reshape("TestInsertSingletonAxesMiddle", "1 1 1", (2, 3, 1, 1, 1, 6, 5), "axis: 2 num_axes: 0"),
    reshape("TestInsertSingletonAxesEnd", "1 1 1", (2, 3, 6, 5, 1, 1, 1), "axis: -1 num_axes: 0"),
    reshape("TestFlattenMiddle", "-1", (2, 18, 5), "axis: 1 num_axes: 2"),
    reshape("TestFlattenMiddle, from the end", "-1", (2, 3, 30), "axis: -3 num_axes: 2"),
    reshape("reshape_layer.cpp's checks", "-1 -1", error="-1"),
    reshape("reshape_layer.cpp's checks", "0 7 -1", error="divi"),
    reshape("reshape_layer.cpp's checks", "2 3 6 6", error="216|180"),
    reshape("reshape_layer.cpp's checks", "1 1 1 1 0", error="0"),
    Row(
        "test_concat_layer.cpp TestSetupNum",
        'type: "Concat" concat_param { axis: 0 }',
        [(2, 3, 6, 5), (5, 3, 6, 5)],
        [(7, 3, 6, 5)],
    ),
    Row("test_concat_layer.cpp TestSetupChannels", 'type: "Concat"', [(2, 3, 6, 5), (2, 5, 6, 5)], [(2, 8, 6, 5)]),
    Row(
        "test_concat_layer.cpp TestSetupChannelsNegativeIndexing",
        'type: "Concat" concat_param { axis: -3 }',
        [(2, 3, 6, 5), (2, 5, 6, 5)],
        [(2, 8, 6, 5)],
    ),
    Row("test_concat_layer.cpp TestForwardTrivial", 'type: "Concat"', [X], [X], grads=[full(1, 2, 3, 2, 2)]),
    Row(
        "test_concat_layer.cpp TestForwardNum",
        'type: "Concat" concat_param { axis: 0 }',
        [v(1, 2), v(3, 4)],
        [v(1, 2, 3, 4, shape=(2, 2))],
    ),
    Row(
        "test_concat_layer.cpp TestForwardChannels",
        'type: "Concat"',
        [v(1, 2, shape=(2, 1)), v(3, 4, 5, 6, shape=(2, 2))],
        [v(1, 3, 4, 2, 5, 6, shape=(2, 3))],
    ),
    Row(
        "test_concat_layer.cpp TestForwardNum, the old field",
        'type: "Concat" concat_param { concat_dim: 0 }',
        [v(1, 2), v(3, 4)],
        [v(1, 2, 3, 4, shape=(2, 2))],
    ),
    Row("concat_layer.cpp's checks", 'type: "Concat" concat_param { axis: 0 concat_dim: 0 }', [(1, 2)], error="concat_dim"),
    Row("concat_layer.cpp's checks", 'type: "Concat"', [(2, 3, 4), (2, 3, 5)], error="layer 'op'"),
    Row("test_slice_layer.cpp TestSetupNum", 'type: "Slice" slice_param { axis: 0 }', [(6, 12, 2, 3)], [(2, 12, 2, 3)] * 3),
    Row(
        "test_slice_layer.cpp TestSetupChannels",
        'type: "Slice" slice_param { slice_point: 3 }',
        [(6, 12, 2, 3)],
        [(6, 3, 2, 3), (6, 9, 2, 3)],
    ),
    Row("test_slice_layer.cpp TestTrivialSlice", 'type: "Slice"', [X], [X], grads=[full(1, 2, 3, 2, 2)]),
    Row(
        "test_slice_layer.cpp TestSliceAcrossNum",
        'type: "Slice" slice_param { axis: 0 slice_point: 1 }',
        [ramp(3, 2)],
        [v(0, 1), v(2, 3, 4, 5, shape=(2, 2))],
    ),
    Row(
        "test_slice_layer.cpp TestSliceAcrossChannels",
        'type: "Slice" slice_param { slice_point: 1 slice_point: 3 }',
        [ramp(1, 4)],
        [v(0), v(1, 2), v(3)],
    ),
    Row("slice_layer.cpp's checks", 'type: "Slice"', [(6, 5)], error="5", n_tops=2),
    Row(
        "slice_layer.cpp's checks",
        'type: "Slice" slice_param { slice_point: 3 slice_point: 2 }',
        [(6, 5)],
        error="slice points",
        n_tops=3,
    ),
    Row("slice_layer.cpp's checks", 'type: "Slice" slice_param { slice_point: 3 }', [(6, 5)], error="slice points", n_tops=3),
    Row("slice_layer.cpp's checks", 'type: "Slice" slice_param { axis: 1 slice_dim: 1 }', [(6, 4)], error="slice_dim", n_tops=2),
    Row("test_split_layer.cpp Test", 'type: "Split"', [X], [X, X], grads=[full(2, 2, 3, 2, 2)]),
    Row("test_tile_layer.cpp TestTrivialSetup", 'type: "Tile" tile_param { axis: 2 tiles: 1 }', [(2, 3, 4, 5)], [(2, 3, 4, 5)]),
    Row("test_tile_layer.cpp TestSetup", 'type: "Tile" tile_param { axis: 3 tiles: 3 }', [(2, 3, 4, 5)], [(2, 3, 4, 15)]),
    Row(
        "test_tile_layer.cpp TestForwardNum",
        'type: "Tile" tile_param { axis: 0 tiles: 2 }',
        [v(1, 2)],
        [v(1, 2, 1, 2, shape=(2, 2))],
        grads=[full(2, 1, 2)],
    ),
    Row(
        "test_tile_layer.cpp TestForwardChannels",
        'type: "Tile" tile_param { tiles: 3 }',
        [ramp(2, 1, 2)],
        [v(0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, shape=(2, 3, 2))],
        grads=[full(3, 2, 1, 2)],
    ),
    Row("tile_layer.cpp's checks", 'type: "Tile"', [(1, 2)], error="tiles"),
    reduction("TestSum", "SUM", np.array(7, "float32"), v(1)),
    reduction("TestSumCoeff", "SUM", np.array(14, "float32"), v(2), "coeff: 2"),
    reduction("TestSumCoeffAxis1", "SUM", np.array([4, 10], "float32"), v(2), "coeff: 2 axis: 1"),
    reduction("TestMean", "MEAN", np.array(7 / 6, "float32"), v(1 / 6)),
    reduction("TestMeanCoeff", "MEAN", np.array(7 / 3, "float32"), v(1 / 3), "coeff: 2"),
    reduction("TestMeanCoeffAxis1", "MEAN", np.array([2, 5], "float32"), v(1), "coeff: 3 axis: 1"),
    reduction("TestAbsSum", "ASUM", np.array(21, "float32"), S),
    reduction("TestAbsSumCoeff", "ASUM", np.array(10.5, "float32"), S / 2, "coeff: 0.5"),
    reduction("TestAbsSumCoeffAxis1", "ASUM", np.array([12, 30], "float32"), 2 * S, "coeff: 2 axis: 1"),
    reduction("TestSumOfSquares", "SUMSQ", np.array(91, "float32"), 2 * UNEVEN),
    reduction("TestSumOfSquaresCoeff", "SUMSQ", np.array(182, "float32"), 4 * UNEVEN, "coeff: 2"),
    reduction("TestSumOfSquaresCoeffAxis1", "SUMSQ", np.array([28, 154], "float32"), 4 * UNEVEN, "coeff: 2 axis: 1"),
    Row("test_reduction_layer.cpp TestSetUp", 'type: "Reduction"', [(2, 3, 4, 5)], [()]),
    Row("test_reduction_layer.cpp TestSetUpWithAxis1", 'type: "Reduction" reduction_param { axis: 1 }', [(2, 3, 4, 5)], [(2,)]),
    Row(
        "test_reduction_layer.cpp TestSetUpWithAxis2", 'type: "Reduction" reduction_param { axis: -2 }', [(2, 3, 4, 5)], [(2, 3)]
    ),
    argmax("TestSetup", "", (10, 10, 20, 20), (10, 1, 1, 1)),
    argmax("TestSetupMaxVal", "out_max_val: true", (10, 10, 20, 20), (10, 2, 1, 1)),
    argmax("TestSetupAxis", "axis: 0", (10, 10, 20, 20), (1, 10, 20, 20)),
    argmax("TestSetupAxisNegativeIndexing", "axis: -2", (10, 10, 20, 20), (10, 10, 1, 20)),
    argmax("TestSetupAxisMaxVal", "axis: 2 out_max_val: true", (10, 10, 20, 20), (10, 10, 1, 20)),
    argmax("TestCPU", "", SCORES, v(1, 2, shape=(2, 1, 1))),
    argmax("TestCPUMaxVal", "out_max_val: true", SCORES, v(1, 9, 2, 8, shape=(2, 2, 1))),
    argmax("TestCPUTopK", "top_k: 2", SCORES, v(1, 2, 2, 0, shape=(2, 1, 2))),
    argmax("TestCPUMaxValTopK", "top_k: 2 out_max_val: true", SCORES, v(1, 2, 9, 3, 2, 0, 8, 7, shape=(2, 2, 2))),
    argmax("TestCPUAxis", "axis: 0", SCORES, v(1, 0, 1)),
    argmax("TestCPUAxisTopK", "axis: 1 top_k: 2", SCORES, v(1, 2, 2, 0, shape=(2, 2))),
    argmax("TestCPUAxisMaxValTopK", "axis: 1 top_k: 2 out_max_val: true", SCORES, v(9, 3, 8, 7, shape=(2, 2))),
    Row("argmax_layer.cpp's checks", 'type: "ArgMax" argmax_param { top_k: 4 axis: 1 }', [(2, 3)], error="top_k"),
    Row("argmax_layer.cpp's checks", 'type: "ArgMax" argmax_param { top_k: 0 }', [(2, 3)], error="top_k"),
    crop("TestSetupShapeAll", "axis: 0", [(2, 4, 5, 4), (2, 3, 4, 2)], [(2, 3, 4, 2)]),
    crop("TestSetupShapeDefault", "", [(2, 4, 5, 4), (2, 3, 4, 2)], [(2, 4, 4, 2)]),
    crop("TestSetupShapeNegativeIndexing", "axis: -1", [(2, 4, 5, 4), (2, 3, 4, 2)], [(2, 4, 5, 2)]),
    crop("TestDimensionsCheck", "axis: 3 offset: 3", [(2, 4, 5, 4), (2, 3, 4, 2)], [], error="axis 3: 2 values from offset 3"),
    crop(
        "TestDimensionsCheck",
        "axis: 2 offset: 1 offset: 1 offset: 1",
        [(2, 4, 5, 4), (2, 3, 4, 2)],
        [],
        error="3 offsets for the 2",
    ),
    crop("TestCropAll", "axis: 0", [ramp(2, 3), full(0, 1, 2)], [v(0, 1)]),
    crop(
        "TestCropAllOffset",
        "axis: 0 offset: 1 offset: 1",
        [ramp(2, 3), full(0, 1, 2)],
        [v(4, 5)],
        grads=[v(0, 0, 0, 0, 1, 1, shape=(2, 3))],
    ),
    crop("TestCropHW", "offset: 1 offset: 2", [ramp(1, 1, 3, 4), full(0, 1, 1, 2, 1)], [v(6, 10, shape=(1, 1, 2, 1))]),
    crop(
        "TestCrop5D",
        "axis: 2 offset: 1 offset: 0 offset: 1",
        [ramp(1, 1, 2, 2, 2), full(0, 1, 1, 1, 1, 1)],
        [full(5, 1, 1, 1, 1, 1)],
    ),
    Row("test_filter_layer.cpp TestForward", 'type: "Filter"', [ramp(3, 2), v(1, 0, 1, shape=(3, 1))], [(3, 2)]),
    Row(
        "test_batch_reindex_layer.cpp TestForward",
        'type: "BatchReindex"',
        [ramp(2, 2), np.array([1, 1, 0], "float32")],
        [v(2, 3, 2, 3, 0, 1, shape=(3, 2))],
        grads=[v(1, 1, 2, 2, shape=(2, 2))],
    ),
    Row(
        "weiliu89/caffe (ssd) test_permute_layer.cpp TestSetUp",
        'type: "Permute" permute_param { order: 0 order: 2 order: 3 order: 1 }',
        [(2, 3, 4, 5)],
        [(2, 4, 5, 3)],
    ),
    Row("weiliu89/caffe (ssd) test_permute_layer.cpp TestSetUpIdentity", 'type: "Permute" permute_param { order: 0 }', [X], [X]),
    Row(
        "weiliu89/caffe (ssd) test_permute_layer.cpp TestFowrad2D",
        'type: "Permute" permute_param { order: 1 order: 0 }',
        [ramp(2, 3)],
        [ramp(2, 3).T],
        grads=[full(1, 2, 3)],
    ),
    Row(
        "weiliu89/caffe (ssd) permute_layer.cpp's checks",
        'type: "Permute" permute_param { order: 1 order: 1 }',
        [(2, 3)],
        error="order|twice",
    ),
    Row(
        "weiliu89/caffe (ssd) permute_layer.cpp's checks",
        'type: "Permute" permute_param { order: 4 }',
        [(2, 3)],
        error="order|axis",
    ),
]
