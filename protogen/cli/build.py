"""`protogen peleenet` and `protogen models`: architectures of our own to prototxt."""

from __future__ import annotations

from typing import Any

import click

from .options import OUTPUT, Numbers, Size, wrong_use
from .output import say, write_text


@click.command()
@click.option("--size", type=Size(), default="224", show_default=True, help="Image size in pixels, or HxW.")
@click.option("--batch", default=1, show_default=True, help="Images per pass.")
@click.option("--classes", default=1000, show_default=True, help="Outputs of the classifier.")
@click.option("--growth-rate", default=32, show_default=True, help="Channels each dense layer adds.")
@click.option("--blocks", type=Numbers(), default="3,4,8,6", show_default=True, help="Dense layers in each stage.")
@click.option(
    "--bottleneck", type=Numbers(), default="1,2,4,4", show_default=True, help="Width of the 1x1 convolutions of each stage.",
)  # fmt: skip
@click.option("--stem", default=32, show_default=True, help="Channels the stem makes.")
@click.option(
    "--transition-pool", type=click.Choice(["max", "ave"], case_sensitive=False),
    help="Pooling between stages; the preset's by default.",
)  # fmt: skip
@click.option("--name", help="Name of the net; the preset's by default.")
@click.option(
    "--preset", type=click.Choice(["genpelee", "official"]), default="genpelee", show_default=True,
    help="genpelee: names a1, b1, ..., MAX transition pooling. official: the authors' file, which their weights fit.",
)  # fmt: skip
@click.option(
    "--phase", type=click.Choice(["test", "train"]), default="test", show_default=True, help="A deploy net, or a train/val net.",
)  # fmt: skip
@click.option("--solver", metavar="FILE", help="With --phase train, also write a solver for the net.")
@click.option("--templates", metavar="DIR", help="Folder of prototxt templates that go before the built-in ones.")
@OUTPUT
def peleenet(size: tuple[int, int], output: str, solver: str | None, templates: str | None, **options: Any) -> None:
    """Write PeleeNet as prototxt.

    \b
    protogen peleenet --size 224 -o peleenet.prototxt
    protogen peleenet --size 304x320 --classes 20 > deploy.prototxt
    protogen peleenet --phase train -o train_val.prototxt --solver solver.prototxt
    """
    from ..errors import NetError
    from ..models.peleenet import peleenet as build
    from ..models.peleenet import peleenet_solver

    options["stem_channels"] = options.pop("stem")
    options["phase"] = options["phase"].upper()
    if solver is not None and (options["phase"] != "TRAIN" or output == "-"):
        raise wrong_use("--solver goes with --phase train and a file for the net (-o FILE)")
    try:
        net = build(size, **options)
    except NetError as error:
        raise wrong_use(str(error)) from error
    write_text(output, net.to_prototxt(templates))
    if solver is not None:
        from ..prototxt.writer import write

        write_text(solver, write(peleenet_solver(output), templates))


@click.command()
def models() -> None:
    """List the architectures protogen can build."""
    from ..models import models as registered

    for name, model in registered().items():
        say(f"{name:12} {model.summary}", f"{'':12} {model.paper}")
