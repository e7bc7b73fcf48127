"""Net surgery: nets with layers removed, renamed, replaced, changed or inserted, with other classes or input channels.

`Surgery` holds these methods of `Net`. None edits a net in place: each returns a new one, for the layers of both phases, whose
weights are the arrays of the old one where they still fit. A note names the layers whose weights do not.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from .arguments import mapping, names_of, shapes_of, whole
from .errors import LayerError, NetError, ProtogenError, ProtogenNote, did_you_mean, some
from .layers.registry import layer_type
from .layers.settings import set_fields
from .prototxt import surgery as edits
from .prototxt.cut import cut_definition
from .prototxt.inputs import with_layers, without_blobs
from .prototxt.message import Message
from .prototxt.surgery import Edit
from .schema import message_type

if TYPE_CHECKING:
    from .graph.graph import Graph
    from .net import Net


class Surgery:
    """The methods of `Net` that change its layers.

    >>> import protogen
    >>> net = protogen.loads('''
    ...     layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
    ...     layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
    ...             convolution_param { num_output: 4 kernel_size: 3 } }
    ...     layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
    ...     layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param { num_output: 10 } }
    ...     layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }''')
    >>> net.with_classes(5).renamed({"fc": "fc5"}).without("prob").shapes
    {'data': (1, 3, 8, 8), 'conv': (1, 4, 6, 6), 'fc5': (1, 5)}
    >>> [layer.name for layer in net.inserted("BatchNorm", after="conv", in_place=True).layers]
    ['data', 'conv', 'batchnorm1', 'relu', 'fc', 'prob']
    """

    def cut(self, inputs: Mapping[str, Sequence[int]] | None = None, outputs: Sequence[str] | None = None) -> Net:
        """Return the part of the net between some blobs and others, with its weights.

        A blob's name stands for its last value, behind all layers that work on it in place.

        Args:
            inputs: shapes of blobs to feed, by name: blobs of layers, which are cut off, or the net's own inputs.
            outputs: blobs that become the outputs; by default the net's own.

        Raises:
            NetError: there is no such blob, or it cannot be fed, because the layer that makes it is needed for another blob.
        """
        net = cast("Net", self)
        shapes = {**net.analysis.input_shapes, **shapes_of(inputs)}
        outputs = None if outputs is None else names_of(outputs, "outputs=")
        definition, inputs = cut_definition(net.definition, net.state, shapes, outputs)
        return net.redefined(definition, inputs, outputs=outputs)

    def without(self, *names: str | Sequence[str]) -> Net:
        """Return the net without some layers; what read a layer's top reads its bottom instead.

        Input layers that only they read (labels, say) go, too.

        Args:
            names: of the layers, or lists of them.

        Raises:
            NetError: no such layer; it has readers and not exactly one bottom; or layers no longer fit: all are named.
        """
        net = cast("Net", self)
        listed = [name for each in names for name in ([each] if isinstance(each, str) else names_of(each, "without"))]
        return _operated(net, edits.without(net.definition, listed))

    def renamed(self, names: Mapping[str, str]) -> Net:
        """Return the net with other names of layers, and of the blobs that they make under their own names, or of blobs alone.

        Caffe finds weights by a layer's name: the old caffemodel has none for a layer that was renamed.

        Args:
            names: new names by old ones.

        Raises:
            NetError: there is no such name, or the new one is taken.
        """
        net = cast("Net", self)
        return _operated(net, edits.renamed(net.definition, mapping(names, "renamed", "{'fc': 'fc20'}")))

    def replaced(self, name: str, type: str, **fields: Any) -> Net:
        """Return the net with another layer in the place of one: of its name, with its bottoms and tops, in its phases.

        Args:
            name: of the layer.
            type: Caffe's type of the new one.
            fields: its parameters, as for `NetBuilder.layer`.

        Raises:
            NetError: no such layer, a wrong field, or layers that no longer fit: all are named.
        """
        net = cast("Net", self)
        return _operated(net, edits.replaced(net.definition, name, _layer(name, type, fields)), {name})

    def changed(self, layers: Mapping[str, Mapping[str, Any]]) -> Net:
        """Return the net with other parameters of some layers.

        Args:
            layers: new values of fields by layer: {"pool1": {"pool": "AVE"}, "conv1": {"stride": 1}}; None stands for Caffe's
                default.

        Raises:
            NetError: no such layer, a wrong field, or layers that no longer fit: all are named.
        """
        net = cast("Net", self)
        fields = mapping(layers, "changed", "{'conv1': {'stride': 1}}")
        return _operated(net, Edit(_with_fields(net.definition, fields)))

    def inserted(
        self,
        type: str,
        *,
        after: str | None = None,
        before: str | None = None,
        name: str | None = None,
        in_place: bool = False,
        bottoms: Sequence[str] = (),
        **fields: Any,
    ) -> Net:
        """Return the net with one more layer, in the phases of the layer beside it.

        Args:
            type: Caffe's type of the new layer.
            after: the layer whose first top it reads; all that follows reads the new layer's top.
            before: the layer that reads its top, in place of its own first bottom.
            name: of the new layer and its top; by default the type with a number.
            in_place: it overwrites what it reads; otherwise it has a top of its own.
            bottoms: further blobs that it reads.
            fields: its parameters, as for `NetBuilder.layer`.

        Raises:
            NetError: no such layer, a wrong field, a name that is taken, or layers that no longer fit: all are named.
        """
        net = cast("Net", self)
        if (after is None) == (before is None):
            raise NetError("say where the new layer goes: after= a layer, or before= one")
        message = _layer(_free_name(net.definition, type) if name is None else name, type, fields)
        message.update({"bottom": list(bottoms)})
        edit = edits.inserted(net.definition, message, after=after or "", before=before or "", in_place=in_place)
        return _operated(net, edit)

    def with_classes(self, classes: int | None = None, layers: Mapping[str, int] | None = None, seed: int = 0) -> Net:
        """Return the net for another number of classes; its last layers get new weights from their fillers, if it has weights.

        Args:
            classes: the number, with the background, if the net counts it (SSD).
            layers: instead, the new `num_output` (`num_classes` of detections) by layer, where the layers before a Softmax, a
                loss or the detections do not tell which are meant, or there are none.
            seed: for the fillers.

        Raises:
            NetError: it cannot be told which layers decide the number (the message names them), or layers no longer fit.
        """
        from .graph.classes import Changes, check_classes, class_changes

        net = cast("Net", self)
        if (classes is None) == (not layers):
            raise NetError("say with_classes(N), or with_classes(layers={name: N}) for the layers that are meant")
        if classes is not None and whole(classes, "with_classes") < 1:
            raise NetError(f"a net has at least one class, not {classes}")
        changes: Changes = {name: _number(net, name, n) for name, n in mapping(layers or {}, "layers=", "{'fc': 5}").items()}
        changes = class_changes(_phases(net), classes) if classes is not None else changes
        twin = _operated(net, Edit(_with_fields(net.definition, changes)), seed=seed)
        if classes is not None:
            check_classes(_phases(twin), classes)
        _tell(f"other numbers of classes in {some(list(changes), 20)}; to train from the old caffemodel with Caffe, which "
              "finds weights by name, rename those that have weights")  # fmt: skip
        return twin

    def with_input_channels(self, channels: int, inputs: Sequence[str] | None = None, seed: int = 0) -> Net:
        """Return the net for images of another number of channels, such as 1 for grey ones.

        The layers that read them get new weights from their fillers, if the net has weights.

        Args:
            channels: the new number.
            inputs: names of the inputs; by default the only one that has images.
            seed: for the fillers.

        Raises:
            NetError: which input is meant cannot be told; its layer does not state a shape; or layers no longer fit.
        """
        net = cast("Net", self)
        if whole(channels, "with_input_channels") < 1:
            raise NetError(f"an image has at least one channel, not {channels}")
        names = _image_inputs(net) if inputs is None else names_of(inputs, "inputs=")
        definition = net.definition
        for name in names:
            definition = _with_channels(definition, name, channels)
        shapes = {name: _with_axis(net.shapes[name], channels) for name in names if name in net.analysis.input_shapes}
        return _operated(net, Edit(definition), seed=seed, shapes=shapes)


def _operated(
    net: Net,
    edit: Edit,
    replaced: set[str] | None = None,
    seed: int | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> Net:
    """Return the net of an edited definition, with the weights that still fit.

    Args:
        net: the net before.
        edit: of its definition.
        replaced: layers that share no weights with those of their names.
        seed: fill the weights that no longer fit, by their fillers; None leaves them out.
        shapes: of inputs, where they are new.

    Raises:
        NetError: layers no longer fit together: all are named.
    """
    weights, gone = net.weights, replaced or set()
    stale = {layer.get("name", "") for layer in edit.definition.layer if "blobs" in layer}
    twin = _set_up(net, Edit(without_blobs(edit.definition, stale), edit.layers, edit.blobs), gone, shapes or {})
    _check_other_phase(net, twin)
    if len(weights):
        unfit = twin.weights.adopt(weights, {old: edit.layers.get(old, old) for old in weights if old not in gone})
        before = {edit.layers.get(layer, layer) for layer in weights.missing}
        _tell_of_weights(twin, [layer for layer in twin.weights.missing if layer not in before], unfit, seed)
    return twin


def _tell_of_weights(net: Net, lost: Sequence[str], unfit: Mapping[str, str], seed: int | None) -> None:
    """Fill weights that are lost, if there is a seed, and say in a note what became of them."""
    if not lost:
        return
    zeros = [layer for layer in net.weights.zero_filled if layer in lost]
    if seed is None:
        state = "without weights now, which fill() draws from the layers' fillers"
    else:
        state = "filled anew by the layers' fillers"
        filled = net.weights.filled(seed)
        net.weights.update({layer: filled[layer] for layer in lost})
    if zeros:
        state += f" (zeros in {some(zeros)}, which name none)"
    _tell(f"{state}: {some(list(lost), 20)}", *(f"  {unfit[layer]}" for layer in lost if layer in unfit))


def _tell(*lines: str) -> None:
    warnings.warn(ProtogenNote(*lines), stacklevel=4)


def _set_up(net: Net, edit: Edit, replaced: set[str], shapes: Mapping[str, Sequence[int]]) -> Net:
    """Set up an edited definition; of layers that do not fit, name all."""
    sources = {top for layer in edit.definition.layer if not layer.get("bottom") for top in layer.get("top", ())}
    fed = {**net.analysis.input_shapes, **shapes}
    fed = {name if name in sources else edit.blobs.get(name, ""): shape for name, shape in fed.items()}
    inputs = {name: shape for name, shape in fed.items() if name in sources}
    settings = _settings(net, edit, replaced)
    try:
        return net.redefined(edit.definition, inputs, weights=False, **settings)
    except LayerError as error:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            errors = net.redefined(edit.definition, inputs, weights=False, **{**settings, "lenient": True}).analysis.errors
        lines = [line for each in errors.values() for line in each.lines] or list(error.lines)
        raise NetError(f"changed like this, {len(errors) or 1} of the net's layers would not fit:", *lines) from None


def _settings(net: Net, edit: Edit, replaced: set[str]) -> dict[str, Any]:
    """The settings of the new net: what is known of layers and blobs by name follows their names."""
    settings = net.settings
    for what in ("groups", "blob_counts"):
        settings[what] = {edit.layers.get(name, name): value for name, value in settings[what].items() if name not in replaced}
    if settings["outputs"] is not None:
        outputs = [edit.blobs.get(name, name) for name in settings["outputs"]]
        settings["outputs"] = list(dict.fromkeys(filter(None, outputs))) or None
    return settings


def _check_other_phase(net: Net, twin: Net) -> None:
    """Check that the other phase is sound if it was before.

    Raises:
        NetError: its layers no longer fit.
    """
    if not any("include" in layer or "exclude" in layer for layer in net.definition.layer):
        return
    other = "TEST" if net.phase == "TRAIN" else "TRAIN"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            net.at(other, weights=False)
        except ProtogenError:
            return
        try:
            twin.at(other, weights=False)
        except ProtogenError as error:
            raise NetError(f"changed like this, the net would not fit in phase {other}:", *error.lines) from None


def _layer(name: str, type: str, fields: Mapping[str, Any]) -> Message:
    message = Message.of("LayerParameter", name=name, type=type)
    _set(message, type, fields, f"layer {name!r} ({type})")
    return message


def _set(message: Message, type: str, fields: Mapping[str, Any], label: str) -> None:
    try:
        set_fields(message, type, fields)
    except ProtogenError as error:
        raise NetError(f"{label}: {error}") from None


def _with_fields(definition: Message, layers: Mapping[str, Mapping[str, Any]]) -> Message:
    changed = {}
    for name, fields in layers.items():
        for layer in edits.layers_named(definition, name):
            twin = layer.copy()
            label = f"layer {name!r} ({layer.type})"
            _set(twin, layer.type, fields, label)
            for field in (field for field, value in fields.items() if value is None):
                _unset(twin, field, label)
            changed[id(layer)] = [twin]
    return with_layers(definition, changed)


def _unset(message: Message, field: str, label: str) -> None:
    """Leave a field of a layer, or of its type's own parameters, to Caffe's default."""
    layer_class = layer_type(message.type)
    param_name = layer_class.param_name if layer_class else None
    own = message_type("LayerParameter").fields
    inner = own[param_name].message_type.fields if param_name in own else {}
    if field in own:
        message.remove(field)
    elif field in inner and param_name in message:
        settings = getattr(message, param_name or "")
        settings.remove(field)
        if not list(settings.fields()):
            message.remove(param_name or "")
    elif field not in inner:
        raise NetError(f"{label}: unknown field {field!r}{did_you_mean(field, [*inner, *own])}")


def _free_name(definition: Message, type: str) -> str:
    """Return the type with the first number that is free, as `NetBuilder` numbers layers."""
    taken = {text for layer in definition.layer for text in (layer.get("name", ""), *layer.get("top", ()))}
    number = 1
    while f"{type.lower()}{number}" in taken:
        number += 1
    return f"{type.lower()}{number}"


def _phases(net: Net) -> list[Graph]:
    """The graphs of both phases, of which one only may have the loss or the detections; of one if the net has no other."""
    graphs = [net.graph(seed=None)]
    if any("include" in layer or "exclude" in layer for layer in net.definition.layer):
        with warnings.catch_warnings(), suppress(ProtogenError):
            warnings.simplefilter("ignore")
            graphs.append(net.at("TEST" if net.phase == "TRAIN" else "TRAIN", weights=False).graph(seed=None))
    return graphs


def _number(net: Net, name: str, number: int) -> dict[str, int]:
    """The field of a layer that states how many outputs or classes it has."""
    number = whole(number, f"layers= for {name!r}")
    layer = edits.layers_named(net.definition, name)[0]
    for parameters in (message for _, message in layer.fields() if isinstance(message, Message) and message.descriptor):
        for field in ("num_output", "num_classes"):
            if field in parameters:
                return {field: number}
    raise NetError(f"layer {name!r} ({layer.type}) has neither num_output nor num_classes; state its fields with changed()")


def _image_inputs(net: Net) -> list[str]:
    names = [name for name in net.inputs if len(net.shapes[name]) == 4]
    if len(names) != 1:
        raise NetError(f"which input is meant cannot be told: {some(names) or 'none'} of the net's inputs have images; "
                       "say with_input_channels(..., inputs=[name])")  # fmt: skip
    return names


def _with_channels(definition: Message, name: str, channels: int) -> Message:
    """Return the definition with another number of channels in the layers that feed an input."""
    makers = [layer for layer in definition.layer if name in layer.get("top", ()) and not layer.get("bottom")]
    if not makers:
        raise NetError(f"no input {name!r} in this net")
    changed = {}
    for layer in makers:
        twin = layer.copy()
        if layer.type == "MemoryData":
            twin.set("memory_data_param", layer.memory_data_param.copy().update({"channels": channels}))
        elif layer.type == "Input" and layer.input_param.shape:
            shapes = list(layer.input_param.shape)
            shapes = shapes * len(layer.top) if len(shapes) == 1 else shapes
            place = layer.top.index(name)
            shapes[place] = {"dim": list(_with_axis(list(shapes[place].dim), channels))}
            twin.set("input_param", {"shape": shapes})
        elif layer.type != "Input":
            label = f"layer {layer.get('name', '')!r} ({layer.type})"
            raise NetError(f"the channels of input {name!r} follow from the data of {label}: "
                           "change its fields with changed(), such as transform_param's force_gray and mean_value")  # fmt: skip
        changed[id(layer)] = [twin]
    return with_layers(definition, changed)


def _with_axis(shape: Sequence[int], channels: int) -> tuple[int, ...]:
    return (shape[0], channels, *shape[2:])
