"""`protogen verify`: compare PyTorch and ONNX Runtime blob by blob."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..backends import BACKENDS
from ..errors import ProtogenError
from .onnx_options import onnx_options, onnx_settings
from .options import DYNAMIC_BATCH, OPSET, SEED, ReadOptions, Tolerance, reads_net, usage_error
from .output import print_table, progress, say
from .values import Values

if TYPE_CHECKING:
    from ..net import Net

INPUT = click.option(
    "--input", "inputs", multiple=True, metavar="NAME=...",
    help="Shape (data=1,3,224,224) or values (data=x.npy, data=photo.jpg; all.npz by name) of an input; repeatable.",
)  # fmt: skip


_FURTHER = [name for name in BACKENDS if name not in ("torch", "onnxruntime")]


@click.command()
@click.argument("prototxt")
@click.argument("weights", required=False)
@click.option("--weights", "weights_option", metavar="FILE", help="Alternative to the argument WEIGHTS.")
@click.option("--backend", "extra", type=click.Choice(list(BACKENDS)), multiple=True, metavar="NAME",
              help=f"A further backend besides torch and onnxruntime: {', '.join(_FURTHER)}; repeatable.")  # fmt: skip
@click.option("--against", metavar="FILE", help="Compare with this .onnx, which another converter made of the net, instead.")
@click.option("--device", default="cpu", show_default=True, help="Device of PyTorch: cpu, cuda, cuda:1.")
@click.option(
    "--dtype", type=click.Choice(["float32", "float16", "bfloat16"]), default="float32", show_default=True,
    help="In half precision, compare PyTorch with PyTorch in float32 instead.",
)  # fmt: skip
@click.option(
    "--tolerance", type=Tolerance(), help="Largest error, relative to a blob's largest value.  [default: 1e-5 in float32]"
)
@click.option("--batch", type=click.IntRange(1), metavar="N",
              help="Images per pass.  [default: 1, where the net allows that and no --input is given]")  # fmt: skip
@click.option("--all", "show_all", is_flag=True, help="List all blobs, not only outputs and those that differ.")
@OPSET
@DYNAMIC_BATCH
@onnx_options
@reads_net(inputs=INPUT)
@SEED
def verify(
    prototxt: str, weights: str | None, weights_option: str | None, extra: Sequence[str], against: str | None, device: str,
    dtype: str, tolerance: float | None, batch: int | None, show_all: bool, opset: int, dynamic_batch: bool, seed: int,
    reading: ReadOptions, **onnx_only: Any,
) -> None:  # fmt: skip
    """Run PROTOTXT through PyTorch and ONNX Runtime, and compare every blob.

    WEIGHTS is a .caffemodel, .caffemodel.h5, .pth or .safetensors; layers without weights in it or in PROTOTXT (blobs) get random
    ones. Exit status: 0 if all blobs agree, otherwise 1, with the first blob that differs. The options for ONNX models are those
    of convert and apply to the model that is compared; with a dynamic batch or size, it also runs at a larger one. With
    --against, --mean, --scale, --swap-rb and --nhwc say what that model does with its image, and --rename what it calls blobs.

    \b
    protogen verify deploy.prototxt model.caffemodel
    protogen verify deploy.prototxt --input data=x.npy --device cuda
    protogen verify deploy.prototxt model.caffemodel --input data=photo.jpg --mean 104,117,123 --swap-rb --nhwc
    protogen verify deploy.prototxt model.caffemodel --backend opencv
    protogen verify deploy.prototxt model.caffemodel --mean 104,117,123 --swap-rb --nhwc --fp16
    protogen verify fcn.prototxt fcn.caffemodel --dynamic-size --opset 13
    protogen verify deploy.prototxt model.caffemodel --against other.onnx --rename data=input.1
    """
    from ..verification import verify as run

    if weights and weights_option:
        raise usage_error("give WEIGHTS only once")
    if against is not None:
        _refuse_options_of_conversions()
    if batch is not None and reading.inputs:
        raise usage_error("--batch and --input exclude each other: the shape of an input says its batch")
    usual = None if reading.inputs or against is not None else "one"
    values = Values.of(reading.inputs)
    options = {"opset": opset, "dynamic_batch": dynamic_batch, **onnx_settings(**onnx_only)}
    with progress():
        shapes = [f"{name}={','.join(map(str, _blob_shape(array, options)))}" for name, array in values.arrays.items()]
        net = replace(reading, inputs=values.shapes + shapes).load(prototxt, weights or weights_option, lenient=True)
        arrays = {**values.arrays, **{name: _picture(net, name, path, options) for name, path in values.pictures.items()}}
        backends = dict.fromkeys(("torch", "onnxruntime", *extra))
        settings = {"tolerance": tolerance, "dtype": dtype, "inputs": arrays, "batch": batch or usual, "seed": seed, **options}
        report = run(net, list(backends), device, against=against, **settings)
    print_table(_table(report, show_all))
    for note in report.notes:
        say(note)
    say(report.verdict)
    if not report.ok:
        sys.exit(1)


def _refuse_options_of_conversions() -> None:
    """Refuse options on the command line that say how to make a model, or which engines run it."""
    context = click.get_current_context()
    for name in ("extra", "dtype", "opset", "dynamic_batch", "dynamic_size", "fp16", "external_data", "names"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            (option,) = (param.opts[0] for param in context.command.params if param.name == name)
            raise usage_error(f"{option} does not apply with --against: that model is run by ONNX Runtime as it is")


def _picture(net: Net, name: str, path: str, options: dict[str, Any]) -> Any:
    """The values of a picture for an input, as the model with these options takes it."""
    from ..pictures.forward import picture_values

    shape = net.analysis.shapes.get(name) if name in net.inputs else None
    if shape is None:
        raise ProtogenError(f"no input {name!r} of a known shape for {path} (inputs: {', '.join(net.inputs)})")
    preprocess = options["preprocess"]
    swapped, nhwc = (preprocess.swap_rb, preprocess.nhwc) if preprocess is not None else (False, False)
    return picture_values(path, shape, blue_first=options["preprocess_from_data"] and not swapped, nhwc=nhwc)


def _blob_shape(array: Any, options: dict[str, Any]) -> tuple[int, ...]:
    """Return the shape of the blob for an array from a file; an image may be (N, H, W, C)."""
    preprocess = options["preprocess"]
    if preprocess is not None and preprocess.nhwc and array.ndim == 4:
        n, h, w, c = array.shape
        return (n, c, h, w)
    return tuple(array.shape)


def _table(report: Any, show_all: bool) -> Any:
    from ..report.table import Column, PlainTable

    table = PlainTable(
        Column("comparison", "words"), Column("blob", "text"), Column("shape", drop=1), Column("max abs", right=True, drop=2),
        Column("max rel", right=True), Column("", "words"),
    )  # fmt: skip
    for row in report.rows:
        if show_all or not row.ok or row.blob in report.outputs:
            shape = "x".join(map(str, row.shape))
            table.add_row(row.comparison, row.display_name, shape, f"{row.max_abs:.2e}", f"{row.max_rel:.2e}", row.verdict)
    return table
