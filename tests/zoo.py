"""The page examples/zoo.md: each model's parameters and multiply-accumulates against those that were published.

`python -m tests.zoo` writes its table. A new model gets a row in `FIGURES`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from protogen.models import find, models
from protogen.models.registry import cost
from tests.commands import ROOT

UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9}


@dataclass(frozen=True)
class Figure:
    """What somebody published of a model.

    Attributes:
        model: its name here.
        source: who says it, and where.
        parameters, macs: as it stands there: "25.0 M", "4.09 G", or "30.9 G FLOP", which counts a multiply-add twice.
        options: of the model, where the source has not our defaults.
        note: why it differs from our number, where it does.
    """

    model: str
    source: str
    parameters: str = ""
    macs: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def ours(self) -> tuple[int, int]:
        """Our parameters and multiply-accumulates for one image."""
        if not self.options:
            return cost(find(self.model))
        net = find(self.model).build(**self.options)
        return net.param_count, net.macs

    @property
    def agrees(self) -> bool:
        """Whether ours are the published ones, rounded as they are."""
        return all(agrees(ours, published) for ours, published in zip(self.ours, (self.parameters, self.macs)))


def agrees(ours: int, published: str) -> bool:
    """Whether a number is the published one, to the digits that it has; "" agrees with any.

    >>> agrees(25_028_904, "25.0 M"), agrees(2_293_000, "4586 K FLOP"), agrees(1_582_671_872, "1.5 G"), agrees(1, "")
    (True, True, False, True)
    """
    if not published:
        return True
    match = re.fullmatch(r"([\d,]+(?:\.(\d+))?) ?([KMG]?)( FLOP)?", published)
    assert match, published
    number, digits = float(match[1].replace(",", "")), len(match[2] or "")
    return round(ours * (2 if match[4] else 1) / UNITS[match[3]], digits) == number


HAN = "Han et al., Learning both Weights and Connections, NeurIPS 2015, table "
TV = "torchvision 0.28, the weights' `num_params` and `_ops`"
TIMM = "timm 1.0.31, parameters of the module"
SAME = "paper, table "
ITS = {"preset": "torchvision"}
GATE = "the paper counts the gate's pooling and multiplications, too"
MORE = GATE + ", and 0.01 G or 0.02 G that its plain nets have more than ours, too"
FIGURES = [
    Figure("alexnet", HAN + "4, its rows added up", "61 M", "1449 M FLOP"),
    Figure("alexnet", TV, "61,100,840", "0.714 G", ITS),
    Figure("caffenet", HAN + "4, its rows added up; of AlexNet, which has the same layers", "61 M", "1449 M FLOP"),
    Figure("cifar10_full", "none known; counted by hand in tests/models/test_cifar10_full.py", "89,578"),
    Figure("densenet", TV + " of densenet121", "7,978,856", "2.834 G"),
    Figure("densenet121", TV, "7,978,856", "2.834 G"),
    Figure("densenet161", TV, "28,681,000", "7.728 G"),
    Figure("densenet169", TV, "14,149,480", "3.36 G"),
    Figure("densenet201", TV, "20,013,928", "4.291 G"),
    Figure("densenet264", "none known; it differs from DenseNet-201 in the number of layers only"),
    Figure("googlenet", "paper, section 1", "", "1.5 G", note="the paper's number is the budget it set itself"),
    Figure("googlenet", TV, "6,624,904", "1.498 G", ITS),
    Figure("inception_v3", TIMM, "23,834,568"),
    Figure("inception_v3", TV, "27,161,264", "5.713 G", note="3,326,696 parameters are of the classifier halfway"),
    Figure("inception_v4", TIMM, "42,679,816"),
    Figure("inception_v4", "timm's model card", "42.7 M", "12.3 G"),
    Figure("inception_resnet_v2", TIMM, "55,843,464"),
    Figure("inception_resnet_v2", "timm's model card", "55.8 M", "13.2 G"),
    Figure("lenet", HAN + "3", "431 K", "4586 K FLOP"),
    Figure("nin", "none known; the weights take 29 MiB, as Caffe's Model Zoo says"),
    Figure("peleenet", "paper, abstract and table 6", "2.8 M", "508 M"),
    Figure("resnet", TV + " of resnet50", "25,557,032", "4.089 G", ITS),
    Figure("resnet18", SAME + "1", "", "1.8 G"),
    Figure("resnet18", TV, "11,689,512", "1.814 G"),
    Figure("resnet34", SAME + "1", "", "3.6 G", note="the paper seems to cut 3.66 off"),
    Figure("resnet34", TV, "21,797,672", "3.664 G"),
    Figure("resnet50", SAME + "1", "", "3.8 G", note="the paper seems to cut 3.86 off"),
    Figure("resnet50", TV, "25,557,032", "4.089 G", ITS),
    Figure("resnet101", SAME + "1", "", "7.6 G"),
    Figure("resnet101", TV, "44,549,160", "7.801 G", ITS),
    Figure("resnet152", SAME + "1", "", "11.3 G"),
    Figure("resnet152", TV, "60,192,808", "11.514 G", ITS),
    Figure("resnet_v2", TIMM + " resnetv2_50", "25,549,352"),
    Figure("resnet50_v2", TIMM + " resnetv2_50", "25,549,352"),
    Figure("resnet101_v2", TIMM + " resnetv2_101", "44,541,480"),
    Figure("resnet152_v2", TIMM + " resnetv2_152", "60,185,128"),
    Figure("resnext50", SAME + "1", "25.0 M", "4.2 G"),
    Figure("resnext50", TV, "25,028,904", "4.23 G"),
    Figure("resnext101", TV, "88,791,336", "16.414 G"),
    Figure("se_resnet50", SAME + "2", "", "3.87 G", note=GATE),
    Figure("se_resnet50", TIMM + " legacy_seresnet50", "28,088,024"),
    Figure("se_resnet101", SAME + "2", "", "7.60 G", note=MORE),
    Figure("se_resnet101", TIMM + " legacy_seresnet101", "49,326,872"),
    Figure("se_resnet152", SAME + "2", "", "11.32 G", note=MORE),
    Figure("se_resnet152", TIMM + " legacy_seresnet152", "66,821,848"),
    Figure("se_resnext50", SAME + "2", "", "4.25 G", note=MORE),
    Figure("se_resnext50", TIMM + " legacy_seresnext50_32x4d", "27,559,896"),
    Figure("se_resnext101", SAME + "2", "", "8.00 G", note=MORE),
    Figure("se_resnext101", TIMM + " legacy_seresnext101_32x4d", "48,955,416"),
    Figure("senet", TIMM + " legacy_seresnet50", "28,088,024"),
    Figure("squeezenet", TV + " of squeezenet1_1", "1,235,496", "0.349 G", {"size": 224}),
    Figure("squeezenet1_0", TV, "1,248,424", "0.819 G", {"size": 224, **ITS}),
    Figure("squeezenet1_1", TV, "1,235,496", "0.349 G", {"size": 224}),
    Figure("vgg", HAN + "5 (VGG-16)", "138 M", "30.9 G FLOP"),
    Figure("vgg11", SAME + "2", "133 M"),
    Figure("vgg11", TV, "132,863,336", "7.609 G"),
    Figure("vgg13", SAME + "2", "133 M"),
    Figure("vgg13", TV, "133,047,848", "11.308 G"),
    Figure("vgg16", SAME + "2", "138 M"),
    Figure("vgg16", HAN + "5", "138 M", "30.9 G FLOP"),
    Figure("vgg16", TV, "138,357,544", "15.47 G"),
    Figure("vgg19", SAME + "2", "144 M"),
    Figure("vgg19", TV, "143,667,240", "19.632 G"),
    Figure("wide_resnet50_2", SAME + "8", "68.9 M"),
    Figure("wide_resnet50_2", TV, "68,883,240", "11.398 G"),
    Figure("wide_resnet101_2", TV, "126,886,696", "22.753 G"),
    Figure("efficientnet_lite", TIMM + " efficientnet_lite0", "4,652,008"),
    Figure("efficientnet_lite0", TIMM, "4,652,008"),
    Figure("efficientnet_lite0", "the authors' table", "4.7 M", "407 M", note="which counts more than multiply-accumulates"),
    Figure("enet", SAME + "3", "0.37 M"),
    Figure("fcn", "none known; the weights take 513 MiB"),
    Figure("fcn8s", "none known; the weights take 513 MiB"),
    Figure("fcn16s", "none known; the weights take 514 MiB"),
    Figure("fcn32s", "none known; the weights take 519 MiB"),
    Figure("ghostnet", SAME + "7", "5.2 M", "141 M"),
    Figure("ghostnet", TIMM + " ghostnet_100", "5,182,508"),
    Figure("hed", "none known; VGG-16's convolutions and five of 1x1"),
    Figure("mnasnet", SAME + "1 (B1)", "4.4 M", "315 M", note="torchvision's, as ours, is 314 M"),
    Figure("mnasnet", TV + " of mnasnet1_0", "4,383,312", "0.314 G"),
    Figure("mobilenet_v1", SAME + "6", "4.2 M", "569 M"),
    Figure("mobilenet_v1", TIMM + " mobilenetv1_100", "4,231,976"),
    Figure("mobilenet_v2", SAME + "4", "3.4 M", "300 M", ITS, note="the paper cuts off or rounds more"),
    Figure("mobilenet_v2", TV, "3,504,872", "0.301 G", ITS),
    Figure("mobilenet_v3", TV + " of mobilenet_v3_large", "5,483,032", "0.217 G"),
    Figure("mobilenet_v3_large", TV, "5,483,032", "0.217 G"),
    Figure("mobilenet_v3_small", TV, "2,542,856", "0.057 G"),
    Figure("repvgg", SAME + "4, plain form", "8.30 M", "1.4 G", note="the paper cuts 8.309 off"),
    Figure("repvgg_a0", SAME + "4, plain form", "8.30 M", "1.4 G", note="the paper cuts 8.309 off"),
    Figure("segnet", "ENet's paper, table 3", "29.46 M", note="where its further 0.01 M are we do not know"),
    Figure("shufflenet_v1", SAME + "2 (3 groups)", "", "137 M", {"preset": "paper"}),
    Figure("shufflenet_v2", TV + " of shufflenet_v2_x1_0", "2,278,604", "0.145 G"),
    Figure("shufflenet_v2", SAME + "8", "", "146 M", note="the paper seems to count some more"),
    Figure("unet", "none known"),
    Figure("xception", SAME + "3", "22,855,952"),
    Figure("xception", "timm's model card of legacy_xception", "22.9 M", "8.4 G"),
]

PAGE = ROOT / "examples/zoo.md"
BEGIN, END = "<!-- sizes:begin -->\n", "<!-- sizes:end -->\n"
HEAD = """\
| model | parameters | published | MACs | published | source |
|---|---:|---:|---:|---:|---|
"""


def page() -> str:
    """The page with its table of sizes as it should be."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    order = {name: i for i, name in enumerate(models())}
    figures = sorted(FIGURES, key=lambda figure: order[figure.model])
    table = HEAD + "".join(f"| {' | '.join(row(figure))} |\n" for figure in figures)
    return before + BEGIN + table + END + rest.partition(END)[2]


def row(figure: Figure) -> Iterator[str]:
    parameters, macs = figure.ours
    yield " ".join([f"`{figure.model}`", *(f"{name} {value}" for name, value in figure.options.items())])
    yield f"{parameters:,}"
    yield cell(parameters, figure.parameters)
    yield f"{macs:,}"
    yield cell(macs, figure.macs)
    yield figure.source + (f"; {figure.note}" if figure.note else "")


def cell(ours: int, published: str) -> str:
    return f"**{published}**" if published and agrees(ours, published) else published


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
