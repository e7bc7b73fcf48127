"""Upgrade nets of 2014, `layers { type: CONVOLUTION blobs_lr: 1 ... }`, to today's dialect."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ..errors import NetError, ProtogenError
from ..schema import message_type
from .message import Message, typed

# Today's names of V1LayerParameter.LayerType; those after DECONVOLUTION belong to forks.
TYPES = {
    "NONE": "", "ABSVAL": "AbsVal", "ACCURACY": "Accuracy", "ARGMAX": "ArgMax", "BNLL": "BNLL", "CONCAT": "Concat",
    "CONTRASTIVE_LOSS": "ContrastiveLoss", "CONVOLUTION": "Convolution", "DATA": "Data", "DROPOUT": "Dropout",
    "DUMMY_DATA": "DummyData", "ELTWISE": "Eltwise", "EUCLIDEAN_LOSS": "EuclideanLoss", "EXP": "Exp", "FLATTEN": "Flatten",
    "HDF5_DATA": "HDF5Data", "HDF5_OUTPUT": "HDF5Output", "HINGE_LOSS": "HingeLoss", "IM2COL": "Im2col",
    "IMAGE_DATA": "ImageData", "INFOGAIN_LOSS": "InfogainLoss", "INNER_PRODUCT": "InnerProduct", "LRN": "LRN",
    "MEMORY_DATA": "MemoryData", "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss", "MVN": "MVN",
    "POOLING": "Pooling", "POWER": "Power", "RELU": "ReLU", "SIGMOID": "Sigmoid",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss", "SILENCE": "Silence", "SLICE": "Slice", "SOFTMAX": "Softmax",
    "SOFTMAX_LOSS": "SoftmaxWithLoss", "SPLIT": "Split", "TANH": "TanH", "THRESHOLD": "Threshold",
    "WINDOW_DATA": "WindowData", "DECONVOLUTION": "Deconvolution",
    "BATCH_NORM": "BatchNorm", "BN": "BN", "CROP": "Crop", "ELTWISE_AFFINE": "EltwiseAffine", "INSANITY": "Insanity",
    "LOCAL": "Local", "NORMALIZE": "Normalize", "RELU6": "ReLU6", "ROIPOOLING": "ROIPooling",
    "TRIPLET_LOSS": "TripletLoss", "UNPOOLING": "Unpooling",
}  # fmt: skip

# Fields with one value per learnable blob, and the field of today's `param { }` that holds it.
_PER_BLOB = {"param": "name", "blob_share_mode": "share_mode", "blobs_lr": "lr_mult", "weight_decay": "decay_mult"}

_DATA_PARAMS = {"DATA": "data_param", "IMAGE_DATA": "image_data_param", "WINDOW_DATA": "window_data_param"}
_TRANSFORMS = ("scale", "mean_file", "crop_size", "mirror")

_LAST_OF_BVLC = 39  # forks use higher numbers for different types


def camel_case(name: str) -> str:
    """Return the name of a V1 layer type as today's dialect spells such names.

    >>> camel_case("VIDEO_DATA"), camel_case("CONVOLUTION3D")
    ('VideoData', 'Convolution3D')
    """
    return "".join(part[:1] + part[1:].lower() for part in re.sub(r"(\d)", r"\1_", name).split("_"))


def type_by_number(number: int) -> str | None:
    """Return today's name of a V1 type by its number in BVLC's enum, None for a fork's.

    >>> type_by_number(4), type_by_number(1000)
    ('Convolution', None)
    """
    name = message_type("V1LayerParameter").fields["type"].enum_name(number) if number <= _LAST_OF_BVLC else None
    return None if name is None else TYPES[name]


def upgrade_v1(definition: Message, source: str) -> None:
    """Turn the `layers` of a NetParameter into `layer`, in place.

    Raises:
        NetError: a layer has an invalid value in a field of today's schema.
    """
    _move_transforms(definition.layers)
    definition.store("layer", [upgrade_layer(layer, source) for layer in definition.layers])
    definition.remove("layers")


def upgrade_layer(old: Message, source: str) -> Message:
    """Convert a V1LayerParameter to a LayerParameter; fields that no schema has are kept.

    Fields that only today's LayerParameter has (such as `norm_param` or `batch_norm_param`) have their meaning there.

    Raises:
        NetError: such a field has a value of the wrong type, or occurs more than once.
    """
    new = Message.of("LayerParameter")
    new.origin = old.origin
    v1_fields, fields = message_type("V1LayerParameter").fields, message_type("LayerParameter").fields
    specs: list[dict[str, Any]] = []
    for name, value in old.fields():
        if name == "type":
            new.store("type", TYPES[value] if value in TYPES else camel_case(value))
        elif name in _PER_BLOB:
            specs.extend({} for _ in range(len(value) - len(specs)))
            for spec, item in zip(specs, value):
                spec[_PER_BLOB[name]] = item
        elif name in v1_fields or name not in fields:
            new.store(name, value)
        else:
            try:
                new.store(name, typed(fields[name], value))
            except ProtogenError as error:
                raise NetError(f"{place(old, source)}: layer {old.name!r}: {error}") from error
    if specs:
        new.set("param", specs)
    return new


def place(message: Message, source: str) -> str:
    """Return `file:line:column` of a message, or only the file if the position is unknown."""
    return ":".join(map(str, (source, *(message.origin or ()))))


def _move_transforms(layers: Iterable[Message]) -> None:
    """Move preprocessing fields of data layers from their own parameters to `transform_param`."""
    loaders = [(layer, _DATA_PARAMS[layer.type]) for layer in layers if layer.type in _DATA_PARAMS]
    if not any(name in getattr(layer, param) for layer, param in loaders for name in _TRANSFORMS):
        return
    for layer, param in loaders:
        settings, transform = getattr(layer, param), layer.transform_param
        for name in _TRANSFORMS:
            if name in settings:
                transform.set(name, getattr(settings, name))
                settings.remove(name)
        # Caffe leaves both messages in every data layer of such a net, even if empty.
        layer.update({param: settings, "transform_param": transform})
