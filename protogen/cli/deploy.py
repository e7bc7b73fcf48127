"""`protogen deploy`: write the net to deploy of a train/val net."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from ..errors import some
from .options import FORCE, OUTPUT, TEMPLATES, ReadOptions, reads_net, refuse_overwriting
from .output import say, write_text

if TYPE_CHECKING:
    from ..net import Net


@click.command()
@click.argument("prototxt")
@OUTPUT
@click.option(
    "--batch", type=click.IntRange(min=1), metavar="N",
    help="Images per pass.  [default: 1 where a data layer states another; what --input or an Input layer states stays]",
)  # fmt: skip
@TEMPLATES
@FORCE
@reads_net()
def deploy(prototxt: str, output: str, batch: int | None, templates: str | None, force: bool, reading: ReadOptions) -> None:
    """Write the net to deploy of the train/val net PROTOTXT ("-": standard input).

    It has the layers of phase TEST (or of --phase) without losses, accuracies, labels and what only labels feed. Data layers
    become Input layers; a comment at the head says what they did to the images. SoftmaxWithLoss becomes a Softmax "prob",
    SigmoidCrossEntropyLoss a Sigmoid; what other losses compare with labels are outputs. Names, and so the weights, stay; so do
    rates and fillers.
    --outputs names blobs of the net to deploy.

    \b
    protogen deploy train_val.prototxt -o deploy.prototxt
    protogen deploy train_val.prototxt -o deploy.prototxt --input data=1,3,224,224
    protogen deploy googlenet_train_val.prototxt --outputs loss3/classifier/prob -o deploy.prototxt
    """
    from ..deploy import deployment

    refuse_overwriting([output], [prototxt], force)
    net = replace(reading, outputs=()).load(prototxt)
    result = deployment(net, batch, reading.output_names, own_phase=reading.phase is not None)
    net = result.net
    write_text(output, result.comments + net.to_prototxt(templates))
    left_out = f"; left out: {some(result.left_out)}" if result.left_out else ""
    say(f"Note: input {_shapes(net, net.inputs)}; output {_shapes(net, net.outputs)}{left_out}", err=True)


def _shapes(net: Net, blobs: Sequence[str]) -> str:
    return ", ".join(f"{blob!r} {'x'.join(map(str, net.shapes[blob]))}" for blob in blobs)
