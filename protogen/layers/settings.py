"""Set the fields of a layer from Python values, as `NetBuilder.layer` and net surgery take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ProtogenError, did_you_mean
from ..prototxt.message import Message
from ..schema import message_type
from .registry import layer_type, layer_types


def set_fields(message: Message, type: str, fields: Mapping[str, Any]) -> None:
    """Set fields of a layer's own parameters (`num_output=32`) or of LayerParameter (`include={...}`).

    Args:
        message: the LayerParameter.
        type: the layer's type, which tells where its own parameters are.
        fields: values by name; a dict stands for a message, None omits a field.

    Raises:
        ProtogenError: an unknown field or type, or a value that does not suit its field.

    >>> message = Message.of("LayerParameter")
    >>> set_fields(message, "Pooling", {"pool": "AVE", "kernel_size": 2})
    >>> message.pooling_param.pool
    'AVE'
    """
    own = message.descriptor.fields if message.descriptor else {}
    values = {key: value for key, value in fields.items() if value is not None}
    layer_class = layer_type(type)
    param_name = layer_class.param_name if layer_class else None
    inner = {key: value for key, value in values.items() if key not in own}
    message.update({key: value for key, value in values.items() if key in own})
    if not inner:
        return
    if layer_class is None and not all(isinstance(value, Mapping) for value in inner.values()):
        raise ProtogenError(f"unknown layer type{did_you_mean(type, layer_types())} "
                            "(pass fields of an unknown type as messages: my_param={...})")  # fmt: skip
    if layer_class is None:
        for key, value in inner.items():
            message.store(key, [Message(None).update(value)])
    elif param_name is None:
        key, value = next(iter(inner.items()))
        raise ProtogenError(f"unknown field {key!r} in LayerParameter{_home(type, key, value) or did_you_mean(key, own)}")
    elif param_name in message:
        getattr(message, param_name).update(inner)
    else:
        message.set(param_name, inner)


def _home(type: str, key: str, value: Any) -> str:
    """Return a hint that names the message of a layer that has the field, "" if no message of this type's has it."""
    schema = message_type("LayerParameter").fields
    homes = [name for name, field in schema.items() if field.kind == "message" and key in field.message_type.fields]
    plain = type.lower().removeprefix("annotated")
    own = next((name for name in homes if name.removesuffix("_param").replace("_", "") == plain), None)
    # Fields that both have (crop_size) are obsolete in the type's own message.
    home = "transform_param" if "transform_param" in homes and type.endswith("Data") else own
    return f"; it is a field of {home}: say {home}={{{key!r}: {value!r}}}" if home else ""
