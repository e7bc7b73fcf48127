"""Published architectures, one file each: `protogen.models.peleenet(size=224)`; `models()` lists them.

`protogen.models.NAME` is the function NAME of the module NAME, and `NAME_solver` the solver it declares.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..errors import NetError
from .registry import Model, find, model, models, variant

if TYPE_CHECKING:
    from .alexnet import alexnet, alexnet_solver, caffenet
    from .cifar10_full import cifar10_full, cifar10_full_solver
    from .densenet import densenet, densenet121, densenet161, densenet169, densenet201, densenet264, densenet_solver
    from .efficientnet_lite import efficientnet_lite, efficientnet_lite0, efficientnet_lite_solver
    from .enet import enet, enet_solver
    from .fcn import fcn, fcn8s, fcn16s, fcn32s, fcn_solver
    from .ghostnet import ghostnet, ghostnet_solver
    from .googlenet import googlenet, googlenet_solver
    from .hed import hed, hed_solver
    from .inception_resnet_v2 import inception_resnet_v2, inception_resnet_v2_solver
    from .inception_v3 import inception_v3, inception_v3_solver
    from .inception_v4 import inception_v4, inception_v4_solver
    from .lenet import lenet, lenet_solver
    from .mnasnet import mnasnet, mnasnet_solver
    from .mobilenet_v1 import mobilenet_v1, mobilenet_v1_solver
    from .mobilenet_v2 import mobilenet_v2, mobilenet_v2_solver
    from .mobilenet_v3 import mobilenet_v3, mobilenet_v3_large, mobilenet_v3_small, mobilenet_v3_solver
    from .nin import nin, nin_solver
    from .peleenet import peleenet, peleenet_solver
    from .repvgg import repvgg, repvgg_a0, repvgg_solver
    from .resnet import (
        resnet,
        resnet18,
        resnet34,
        resnet50,
        resnet101,
        resnet152,
        resnet_solver,
        resnext50,
        resnext101,
        wide_resnet50_2,
        wide_resnet101_2,
    )
    from .resnet_v2 import resnet50_v2, resnet101_v2, resnet152_v2, resnet_v2, resnet_v2_solver
    from .segnet import segnet, segnet_solver
    from .senet import se_resnet50, se_resnet101, se_resnet152, se_resnext50, se_resnext101, senet, senet_solver
    from .shufflenet_v1 import shufflenet_v1, shufflenet_v1_solver
    from .shufflenet_v2 import shufflenet_v2, shufflenet_v2_solver
    from .squeezenet import squeezenet, squeezenet1_0, squeezenet1_1, squeezenet_solver
    from .unet import unet, unet_solver
    from .vgg import vgg, vgg11, vgg13, vgg16, vgg19, vgg_solver
    from .xception import xception, xception_solver

__all__ = [
    "Model",
    "alexnet",
    "alexnet_solver",
    "caffenet",
    "cifar10_full",
    "cifar10_full_solver",
    "densenet",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "densenet264",
    "densenet_solver",
    "efficientnet_lite",
    "efficientnet_lite0",
    "efficientnet_lite_solver",
    "enet",
    "enet_solver",
    "fcn",
    "fcn8s",
    "fcn16s",
    "fcn32s",
    "fcn_solver",
    "find",
    "ghostnet",
    "ghostnet_solver",
    "googlenet",
    "googlenet_solver",
    "hed",
    "hed_solver",
    "inception_resnet_v2",
    "inception_resnet_v2_solver",
    "inception_v3",
    "inception_v3_solver",
    "inception_v4",
    "inception_v4_solver",
    "lenet",
    "lenet_solver",
    "mnasnet",
    "mnasnet_solver",
    "mobilenet_v1",
    "mobilenet_v1_solver",
    "mobilenet_v2",
    "mobilenet_v2_solver",
    "mobilenet_v3",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "mobilenet_v3_solver",
    "model",
    "models",
    "nin",
    "nin_solver",
    "peleenet",
    "peleenet_solver",
    "repvgg",
    "repvgg_a0",
    "repvgg_solver",
    "resnet",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet50_v2",
    "resnet101",
    "resnet101_v2",
    "resnet152",
    "resnet152_v2",
    "resnet_solver",
    "resnet_v2",
    "resnet_v2_solver",
    "resnext50",
    "resnext101",
    "se_resnet50",
    "se_resnet101",
    "se_resnet152",
    "se_resnext50",
    "se_resnext101",
    "segnet",
    "segnet_solver",
    "senet",
    "senet_solver",
    "shufflenet_v1",
    "shufflenet_v1_solver",
    "shufflenet_v2",
    "shufflenet_v2_solver",
    "squeezenet",
    "squeezenet1_0",
    "squeezenet1_1",
    "squeezenet_solver",
    "unet",
    "unet_solver",
    "variant",
    "vgg",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "vgg_solver",
    "wide_resnet50_2",
    "wide_resnet101_2",
    "xception",
    "xception_solver",
]


class _Package(ModuleType):
    """This package, in which a model's name is its function, even after the module of the same name was imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, getattr(value, name, value) if isinstance(value, ModuleType) else value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        stem = name.removesuffix("_solver")
        try:
            entry = find(stem)
        except NetError as error:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}: {error}") from None
        value = entry.build if stem == name else entry.solver
        if value is not None:
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *models()})
