"""`protogen run`: run a net on a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ..backends import BACKENDS
from .onnx_options import Mean, PerChannel
from .options import FORCE, FiniteRange, Numbers, ReadOptions, Size, reads_net, refuse_overwriting, usage_error
from .output import print_table, progress, say, say_json
from .values import Values

if TYPE_CHECKING:
    from ..pictures.result import Result

INPUT = click.option(
    "--input", "inputs", multiple=True, metavar="NAME=...",
    help="Shape (data=1,3,320,480) or values (im_info=x.npy, all.npz) of an input; or the picture (data=photo.jpg); repeatable.",
)  # fmt: skip


@click.command()
@click.argument("prototxt")
@click.argument("files", nargs=-1, metavar="[WEIGHTS] [PICTURE]")
@click.option("-o", "--output", "targets", multiple=True, metavar="FILE",
              help="Write the picture with its detections, or maps as pictures (.png), or all values (.npz); "
              "repeatable.")  # fmt: skip
@click.option("--mean", type=Mean(), help="Subtract this: one number, or one per channel in the net's order (blue, green, red "
              "for most of Caffe's nets), or the channel means of a .binaryproto.")  # fmt: skip
@click.option("--scale", "--input-scale", type=PerChannel(), help="Multiply by this, after --mean (pycaffe's input_scale).")
@click.option("--swap-rb", is_flag=True, help="The net takes blue, green, red: swap the picture's red and blue.")
@click.option(
    "--channel-swap", type=Numbers(), help="The picture's channels in the net's order, as in pycaffe: 2,1,0 is --swap-rb."
)
@click.option("--raw-scale", type=FiniteRange(0, min_open=True), default=255.0, show_default=True,
              help="The picture's largest value, before --mean, as in pycaffe.")  # fmt: skip
@click.option("--preprocess-from-data", is_flag=True, help="Do what the net's data layer does: resize, crop, swap red and blue, "
              "mean, scale.")  # fmt: skip
@click.option("--size", type=Size(), help="Warp the picture to this size and take its centre.  [default: warp to the net's size]")
@click.option("--labels", metavar="FILE", help="Names of the classes: one a line, or SSD's label map.")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, metavar="N", help="Number of classes to show.")
@click.option("--threshold", type=FiniteRange(0, 1), default=0.5, show_default=True, help="Lowest score of a detection.")
@click.option("--device", default="cpu", show_default=True, help="Device of PyTorch: cpu, cuda, cuda:1.")
@click.option("--backend", type=click.Choice(list(BACKENDS)), default="torch", show_default=True, help="What computes the net.")
@FORCE
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reads_net(inputs=INPUT)
def run(
    prototxt: str, files: tuple[str, ...], targets: tuple[str, ...], size: tuple[int, int] | None, labels: str | None, top: int,
    threshold: float, device: str, backend: str, as_json: bool, preprocess_from_data: bool, force: bool,
    reading: ReadOptions, **steps: Any,
) -> None:  # fmt: skip
    """Run the net of PROTOTXT with WEIGHTS on PICTURE, and show its classes, detections or maps.

    The picture is warped to the net's height and width (or to --size, and its centre taken), bilinearly, as Caffe's tools do.
    It is red, green, blue from 0 to 255, so options of `protogen convert` mean the same here: a net that was trained on blue,
    green, red needs --swap-rb. Outputs without classes or places, such as embeddings, are shown as statistics: -o out.npz.

    \b
    protogen run deploy.prototxt model.caffemodel photo.jpg --mean 104,117,123 --swap-rb --labels synset_words.txt
    protogen run deploy.prototxt model.caffemodel photo.jpg --size 256 --channel-swap 2,1,0 --mean mean.binaryproto
    protogen run ssd.prototxt ssd.caffemodel photo.jpg --mean 104,117,123 --swap-rb --labels labelmap_voc.prototxt -o boxes.png
    protogen run fcn.prototxt fcn.caffemodel photo.jpg --input data=1,3,375,500 --mean 104,117,123 --swap-rb -o classes.png
    """
    from ..pictures.forward import run as run_on
    from ..pictures.labels import read_labels
    from ..pictures.show import as_dict, tables
    from ..targets.onnx.options import Preprocess

    _check(targets, **steps, from_data=preprocess_from_data)
    values = Values.of(reading.inputs)
    weights, picture, name = _files(files, values)
    refuse_overwriting(targets, (prototxt, weights, picture, labels), force)
    preprocess = Preprocess(steps["mean"] or 0.0, steps["scale"] or 1.0, steps["swap_rb"], input=name)
    names = read_labels(labels) if labels is not None else {}
    with progress():
        net = replace(reading, inputs=values.shapes).load(prototxt, weights, lenient=True).known_part()
        if not net.weights.source and net.weights.missing:
            say(f"Note: {net.weights.fill_note}", err=True)
        result = run_on(
            net, picture, preprocess, raw_scale=steps["raw_scale"], channel_swap=steps["channel_swap"], size=size, labels=names,
            from_data=preprocess_from_data, inputs=values.arrays, device=device, backend=backend,
        )  # fmt: skip
    if result.picture.shape[2] == 3 and not (steps["swap_rb"] or steps["channel_swap"] or preprocess_from_data):
        say("Note: the net gets red, green, blue; most of Caffe's take blue, green, red (--swap-rb)", err=True)
    shown = as_dict(result, top, threshold) if as_json else list(tables(result, top, threshold))  # refuses labels that lack names
    written = [file for path in targets for file in _write(result, path, threshold)]
    if isinstance(shown, dict):
        say_json(shown)
        return
    for line, table in shown:
        say(line)
        if table is not None:
            print_table(table)
    say(*(f"written: {file}" for file in written))


def _check(
    targets: Sequence[str], mean: Any, scale: Any, swap_rb: bool, channel_swap: Any, raw_scale: float, from_data: bool
) -> None:
    """Refuse options that contradict each other, and files of no known kind."""
    for path in targets:
        if not path.lower().endswith((".png", ".npz")):
            raise usage_error(f"-o takes a .png or a .npz, not {path!r}")
    if from_data and (mean or scale or channel_swap or raw_scale != 255):
        raise usage_error("--preprocess-from-data does what the data layer states: leave out --mean, --scale, --raw-scale and "
                          "--channel-swap")  # fmt: skip
    if swap_rb and channel_swap:
        raise usage_error("give either --swap-rb or --channel-swap")


def _files(files: Sequence[str], values: Values) -> tuple[str | None, str, str]:
    """The file with the weights, the picture, and the name of its input, "" if it is not told."""
    if len(values.pictures) > 1:
        raise usage_error("a net is run on one picture: give --input NAME=PICTURE once")
    if len(files) > 2 - len(values.pictures):
        raise usage_error(f"too many files: {', '.join(files)}; they are PROTOTXT, then WEIGHTS, then one PICTURE")
    for name, picture in values.pictures.items():
        return (files[0] if files else None), picture, name
    if not files:
        raise usage_error("the PICTURE is missing")
    return (files[0] if len(files) == 2 else None), files[-1], ""


def _write(result: Result, path: str, threshold: float) -> list[str]:
    """Write a result in the format that a name ends in; return the names of the files."""
    from ..pictures.show import write_pictures, write_values

    if path.lower().endswith(".npz"):
        write_values(result.outputs, path)
        return [path]
    return write_pictures(result, path, threshold)
