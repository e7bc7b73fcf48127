"""`protogen fold`: the inference form of a net, as a new prototxt and caffemodel."""

from __future__ import annotations

import os

import click

from .options import ReadOptions, reads_net, usage_error
from .output import progress, say


@click.command()
@click.argument("prototxt")
@click.argument("weights", required=False)
@click.option(
    "-o", "--output", required=True, metavar="FILE",
    help="The new prototxt; the .caffemodel goes beside it under the same name. Or the .caffemodel(.h5), or their common stem.",
)  # fmt: skip
@click.option("--weights-out", metavar="FILE", help="Another place for the new weights.")
@reads_net(phase=False)
def fold(prototxt: str, weights: str | None, output: str, weights_out: str | None, reading: ReadOptions) -> None:
    """Fold BatchNorm, Scale and Bias of PROTOTXT and WEIGHTS into the layers before them ("merge_bn").

    The new pair of files gives the same outputs in inference. Dropout and other layers that do nothing there go too. WEIGHTS may
    be left out where PROTOTXT itself holds all of them (blobs).

    \b
    protogen fold deploy.prototxt model.caffemodel -o folded.prototxt      # and folded.caffemodel
    protogen fold deploy.prototxt model.caffemodel -o a.prototxt --weights-out b.caffemodel
    """
    from ..graph.fold import folded
    from ..targets.caffe.pair import pair_paths, save_pair

    if output == "-":
        raise usage_error("two files are written: give -o FILE, not standard output")
    targets = pair_paths(output, weights_out)
    for target in targets:
        for given in filter(None, (prototxt, weights)):
            if os.path.isfile(target) and os.path.isfile(given) and os.path.samefile(target, given):
                raise usage_error(f"{target} would overwrite the input {given}: give another name to write to")
    with progress():
        net = reading.load(prototxt, weights)
        if weights is None and net.weights.missing:
            raise usage_error(f"give WEIGHTS: {prototxt} does not hold all of them itself")
        net.weights.require_complete()
        graph = folded(net.graph())
        save_pair(graph, *targets)
    say(f"{targets[0]} and {targets[1]}: {len(net.layers)} layers became {len(graph.nodes)}", err=True)
