"""`protogen edit`: write a net with other layers, classes or input channels, and the weights that still fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ..errors import some
from .options import FORCE, SEED, TEMPLATES, ReadOptions, output_needed, pairs, reads_net, refuse_overwriting, usage_error
from .output import progress, say, write_text

if TYPE_CHECKING:
    from ..net import Net


@click.command()
@click.argument("prototxt")
@click.argument("weights", required=False)
@click.option(
    "-o", "--output", metavar="FILE",
    help="The new prototxt; with weights, their .caffemodel is written beside it under the same name. - for standard output.",
)  # fmt: skip
@click.option("--weights-out", metavar="FILE", help="A different file for the new weights.")
@click.option("--remove", multiple=True, metavar="LAYER", help="Remove a layer; its readers read its bottom. Repeatable.")
@click.option(
    "--input-channels", type=click.IntRange(min=1), metavar="N", help="Channels of the images, such as 1 for grey ones."
)
@click.option(
    "--classes", multiple=True, metavar="N|LAYER=N",
    help="Number of classes, with the background if the net counts it; or the new num_output of a layer, repeatable, where the "
    "net does not tell which layers are meant.",
)  # fmt: skip
@click.option("--rename", multiple=True, metavar="OLD=NEW", help="Another name of a layer and its blob; repeatable.")
@TEMPLATES
@FORCE
@reads_net()
@SEED
def edit(
    prototxt: str, weights: str | None, output: str | None, weights_out: str | None, remove: Sequence[str],
    input_channels: int | None, classes: Sequence[str], rename: Sequence[str], templates: str | None, force: bool, seed: int,
    reading: ReadOptions,
) -> None:  # fmt: skip
    """Change layers of PROTOTXT, a net to deploy or to train: all its phases stay. Weights of WEIGHTS that still fit follow.

    Layers are removed first and renamed last. Layers with another number of classes or channels, and what follows from these, get
    new weights from their fillers; notes name them. Caffe finds weights by name, so that a renamed layer takes none from the old
    caffemodel. --input and --outputs cut the net, as for convert. Layers are inserted, replaced and changed in Python:
    net.inserted, net.replaced, net.changed.

    \b
    protogen edit train_val.prototxt --classes 20 --rename fc8=fc20 -o finetune.prototxt
    protogen edit deploy.prototxt m.caffemodel --classes 20 --remove drop7 -o new.prototxt      # and new.caffemodel
    protogen edit faster_rcnn.prototxt --classes cls_score=5 --classes bbox_pred=20 -o five.prototxt
    """
    from ..targets.caffe.pair import pair_paths, save_pair

    if not (remove or input_channels or classes or rename):
        raise usage_error("say what to change: --remove, --input-channels, --classes or --rename")
    if output is None:
        raise output_needed(prototxt, weights, "_edited.prototxt")
    renames = dict(pairs(rename, "--rename takes OLD=NEW"))
    numbers = _numbers(classes)
    with progress():
        net = reading.load(prototxt, weights)
        net = _edited(net, remove, input_channels, numbers, renames, seed)
        if not net.weights:
            refuse_overwriting([output], [prototxt], force)
            write_text(output, net.to_prototxt(templates))
            return
        if output == "-":
            raise usage_error("edit writes two files for a net with weights, so it needs -o FILE instead of standard output")
        targets = pair_paths(output, weights_out)
        refuse_overwriting(targets, (prototxt, weights), force)
        missing = net.weights.missing
        save_pair(net.fill(seed).graph(), *targets, net.to_prototxt(templates))
    filled = f"; filled by their fillers: {some(missing)}" if missing else ""
    say(f"{targets[0]} and {targets[1]}: {len(net.layers)} layers{filled}", err=True)


def _numbers(classes: Sequence[str]) -> int | dict[str, int] | None:
    """The value of --classes: one number, or one for each of some layers."""
    values = [(layer, number) for layer, _, number in (text.rpartition("=") for text in classes)]
    if any(not number.isdecimal() or not 0 < int(number) < 2**31 for _, number in values):
        raise usage_error(f"--classes takes a number, or LAYER=N, not {', '.join(classes)!r}")
    if len(values) > 1 and any(not layer for layer, _ in values):
        raise usage_error("--classes takes one number for the whole net, or LAYER=N for each of some layers, not both")
    if not values:
        return None
    return {layer: int(number) for layer, number in values} if values[0][0] else int(values[0][1])


def _edited(
    net: Net,
    remove: Sequence[str],
    channels: int | None,
    classes: int | dict[str, int] | None,
    renames: dict[str, str],
    seed: int,
) -> Net:
    if remove:
        net = net.without(*remove)
    if channels is not None:
        net = net.with_input_channels(channels, seed=seed)
    if isinstance(classes, dict):
        net = net.with_classes(layers=classes, seed=seed)
    elif classes is not None:
        net = net.with_classes(classes, seed=seed)
    return net.renamed(renames) if renames else net
