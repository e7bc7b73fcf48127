"""Upgrade nets of 2013, `layers { layer { name: "conv1" type: "conv" kernelsize: 3 } bottom: ... }`, to the V1 dialect."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from ..errors import NetError, ProtogenWarning, did_you_mean
from ..schema import message_type
from .message import Message
from .upgrade_v1 import TYPES, place


class _Rule(NamedTuple):
    """Upgrade of one V0 layer type: the V1 type, its parameter message, and the new name of each V0 field in it."""

    type: str
    param: str = ""
    fields: Mapping[str, str] = MappingProxyType({})


_DATA = {"source": "source", "batchsize": "batch_size"}
_KERNEL = {"pad": "pad", "kernelsize": "kernel_size", "stride": "stride"}
_WEIGHTS = {
    "num_output": "num_output", "biasterm": "bias_term", "weight_filler": "weight_filler", "bias_filler": "bias_filler",
}  # fmt: skip
_WINDOWS = {
    "det_fg_threshold": "fg_threshold", "det_bg_threshold": "bg_threshold", "det_fg_fraction": "fg_fraction",
    "det_context_pad": "context_pad", "det_crop_mode": "crop_mode",
}  # fmt: skip
_IMAGES = {"rand_skip": "rand_skip", "shuffle_images": "shuffle", "new_height": "new_height", "new_width": "new_width"}

_RULES = {
    "accuracy": _Rule("ACCURACY"),
    "bnll": _Rule("BNLL"),
    "concat": _Rule("CONCAT", "concat_param", {"concat_dim": "concat_dim"}),
    "conv": _Rule("CONVOLUTION", "convolution_param", {**_WEIGHTS, **_KERNEL, "group": "group"}),
    "data": _Rule("DATA", "data_param", {**_DATA, "rand_skip": "rand_skip"}),
    "dropout": _Rule("DROPOUT", "dropout_param", {"dropout_ratio": "dropout_ratio"}),
    "euclidean_loss": _Rule("EUCLIDEAN_LOSS"),
    "flatten": _Rule("FLATTEN"),
    "hdf5_data": _Rule("HDF5_DATA", "hdf5_data_param", _DATA),
    "hdf5_output": _Rule("HDF5_OUTPUT"),
    "im2col": _Rule("IM2COL"),
    "images": _Rule("IMAGE_DATA", "image_data_param", {**_DATA, **_IMAGES}),
    "infogain_loss": _Rule("INFOGAIN_LOSS", "infogain_loss_param", {"source": "source"}),
    "innerproduct": _Rule("INNER_PRODUCT", "inner_product_param", _WEIGHTS),
    "lrn": _Rule("LRN", "lrn_param", {"local_size": "local_size", "alpha": "alpha", "beta": "beta", "k": "k"}),
    "multinomial_logistic_loss": _Rule("MULTINOMIAL_LOGISTIC_LOSS"),
    "pool": _Rule("POOLING", "pooling_param", {**_KERNEL, "pool": "pool"}),
    "relu": _Rule("RELU"),
    "sigmoid": _Rule("SIGMOID"),
    "softmax": _Rule("SOFTMAX"),
    "softmax_loss": _Rule("SOFTMAX_LOSS"),
    "split": _Rule("SPLIT"),
    "tanh": _Rule("TANH"),
    "window_data": _Rule("WINDOW_DATA", "window_data_param", {**_DATA, **_WINDOWS}),
}

_KEPT = ("name", "blobs", "blobs_lr", "weight_decay")
_TRANSFORMS = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size", "mirror": "mirror"}


def type_today(name: str) -> str:
    """Return today's name of a V0 type; other names are returned unchanged.

    >>> type_today("innerproduct")
    'InnerProduct'
    """
    return TYPES[_RULES[name].type] if name in _RULES else name


_PADDED = ("conv", "pool")


def first_v0_layer(definition: Message) -> Message | None:
    """Return the first V0 layer of a net, None if it has none."""
    return next((layer for layer in definition.layers if "layer" in layer), None)


def upgrade_v0(definition: Message, source: str) -> None:
    """Turn V0 layers into V1 layers and their padding layers into padding, in place.

    Raises:
        NetError: an unknown layer type, or padding before a layer that takes none.
    """
    layers = _fold_padding(definition, source)
    definition.store("layers", [_upgrade_layer(layer, source) for layer in layers])


def _fold_padding(definition: Message, source: str) -> list[Message]:
    """Return the layers without padding layers, whose padding moves to the layers that read them."""
    makers: dict[str, Message | None] = dict.fromkeys(definition.input)
    kept = []
    for layer in definition.layers:
        for i, bottom in enumerate(layer.bottom):
            if bottom not in makers:
                raise NetError(f"{_label(layer, source)}: no layer before it makes its bottom {bottom!r}"
                               f"{did_you_mean(bottom, makers)}")  # fmt: skip
            maker = makers[bottom]
            if maker is not None and maker.layer.type == "padding":
                _check_padding(layer, maker, source)
                layer.layer.set("pad", maker.layer.pad)
                layer.bottom[i] = maker.bottom[0]
        makers.update(dict.fromkeys(layer.top, layer))
        if layer.layer.type != "padding":
            kept.append(layer)
    return kept


def _check_padding(layer: Message, padding: Message, source: str) -> None:
    if layer.layer.type not in _PADDED:
        raise NetError(f"{_label(layer, source)}: it reads padding layer {padding.layer.name!r}, which only conv and pool can")
    if len(layer.bottom) != 1:
        raise NetError(f"{_label(layer, source)}: a layer that reads a padding layer has one bottom, not {len(layer.bottom)}")
    if len(padding.bottom) != 1 or len(padding.top) != 1:
        raise NetError(f"{_label(padding, source)}: a padding layer has one bottom and one top")


def _upgrade_layer(old: Message, source: str) -> Message:
    settings = old.layer
    new = Message.of("V1LayerParameter", bottom=old.get("bottom"), top=old.get("top"))
    new.origin = old.origin
    rule = _rule(old, source) if "type" in settings else _Rule("NONE")
    new.set("type", rule.type)
    v0_fields, v1_fields = message_type("V0LayerParameter").fields, message_type("V1LayerParameter").fields
    unknown = {name: value for name, value in old.fields() if name not in v1_fields}
    dropped = [name for name, _ in old.fields() if name not in ("layer", "bottom", "top") and name not in unknown]
    for name, value in settings.fields():
        if name not in v0_fields:
            unknown[name] = value
        elif name in _KEPT or (name, rule.type) == ("hdf5_output_param", "HDF5_OUTPUT"):
            new.store(name, value)
        elif name in _TRANSFORMS:
            _put(new, "transform_param", _TRANSFORMS[name], value)
        elif name in rule.fields:
            _put(new, rule.param, rule.fields[name], value)
        elif name != "type":
            dropped.append(name)
    for name, value in unknown.items():  # fields of forks, kept so that converting can refuse those that are not computed
        if name in v1_fields:
            raise NetError(f"{_label(old, source)}: field {name!r} belongs to a later dialect than V0")
        new.store(name, value)
    if dropped:
        text = f"{_label(old, source)}: fields without effect in this layer type are ignored, as in Caffe: {', '.join(dropped)}"
        warnings.warn(text, ProtogenWarning, stacklevel=2)
    return new


def _rule(layer: Message, source: str) -> _Rule:
    name = layer.layer.type
    if name not in _RULES:
        raise NetError(f"{_label(layer, source)}: unknown V0 layer type {name!r}{did_you_mean(name, _RULES)}")
    return _RULES[name]


def _put(layer: Message, param: str, name: str, value: object) -> None:
    if param not in layer:
        layer.set(param, {})
    getattr(layer, param).set(name, value)


def _label(layer: Message, source: str) -> str:
    return f"{place(layer, source)}: layer {layer.layer.name!r} ({layer.layer.type})"
