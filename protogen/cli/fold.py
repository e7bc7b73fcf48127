"""`protogen fold`: write the inference form of a net as a new prototxt and caffemodel."""

from __future__ import annotations

import click

from .options import FORCE, TEMPLATES, ReadOptions, output_needed, reads_net, refuse_overwriting, usage_error
from .output import progress, say


@click.command()
@click.argument("prototxt")
@click.argument("weights", required=False)
@click.option(
    "-o", "--output", metavar="FILE",
    help="The new prototxt, with the .caffemodel beside it under the same name; or the .caffemodel(.h5), or their common stem.",
)  # fmt: skip
@click.option("--weights-out", metavar="FILE", help="A different file for the new weights.")
@TEMPLATES
@FORCE
@reads_net()
def fold(
    prototxt: str, weights: str | None, output: str | None, weights_out: str | None, templates: str | None, force: bool,
    reading: ReadOptions,
) -> None:  # fmt: skip
    """Fold BatchNorm, Scale and Bias of PROTOTXT and WEIGHTS into the preceding layers ("merge_bn").

    The new files compute the same outputs in inference. Dropout and other layers that do nothing in inference are removed.
    WEIGHTS can be omitted if PROTOTXT itself contains all of them (blobs).

    \b
    protogen fold deploy.prototxt model.caffemodel -o folded.prototxt      # and folded.caffemodel
    protogen fold deploy.prototxt model.caffemodel -o a.prototxt --weights-out b.caffemodel
    """
    from ..graph.fold import folded
    from ..targets.caffe.files import prototxt_of
    from ..targets.caffe.pair import pair_paths, save_pair

    if output is None:
        raise output_needed(prototxt, weights, "_folded.prototxt")
    if output == "-":
        raise usage_error("fold writes two files, so it needs -o FILE instead of standard output")
    targets = pair_paths(output, weights_out)
    refuse_overwriting(targets, (prototxt, weights), force)
    with progress():
        net = reading.load(prototxt, weights)
        if weights is None and net.weights.missing:
            raise usage_error(f"WEIGHTS are needed: {prototxt} does not contain all of them")
        net.weights.require_complete()
        graph = folded(net.graph())
        save_pair(graph, *targets, prototxt_of(graph, templates))
    say(f"{targets[0]} and {targets[1]}: {len(net.layers)} layers became {len(graph.nodes)}", err=True)
