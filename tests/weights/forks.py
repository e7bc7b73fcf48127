"""Binary nets as a fork of Caffe writes them: protobuf's classes for `caffe.proto` with that fork's numbers."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from tests.commands import ROOT

OWN = 5000  # numbers from here on are caffe.proto's, no fork's


@lru_cache(maxsize=1)
def table() -> dict[str, Any]:
    """The content of numbers.json."""
    return dict(json.loads((ROOT / "proto" / "numbers.json").read_bytes()))


@lru_cache(maxsize=8)
def net_class(fork: str) -> Any:
    """The fork's NetParameter: fields that it lacks are left out."""
    file = descriptor_pb2.FileDescriptorProto.FromString((ROOT / "proto" / "caffe.desc").read_bytes())
    index = table()["forks"].index(fork)
    for message in file.message_type:
        numbers = table()["fields"].get(message.name, {})
        disputed = {name for names in numbers.values() for name in names}
        own = {name: int(number) for number, names in numbers.items() for name, forks in names.items() if index in forks}
        kept = []
        for field in message.field:
            if field.name in own:
                field.number = own[field.name]
                kept.append(field)
            elif field.name not in disputed and field.number < OWN:
                kept.append(field)
        del message.field[:]
        message.field.extend(kept)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))


def encoded(text: str, fork: str = "BVLC/caffe") -> bytes:
    """The binary form of a prototxt, as the fork writes it."""
    return bytes(text_format.Parse(text, net_class(fork)()).SerializeToString())
