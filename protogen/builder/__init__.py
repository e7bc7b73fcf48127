"""Compose a net layer by layer; every call checks its layer and returns its top.

Methods take the bottom as the first argument; by default it is the builder's `last` blob. Blobs are represented by their
names, so branches read naturally:

>>> b = NetBuilder("Two branches")
>>> x = b.input("data", (1, 3, 32, 32))
>>> left = b.relu(b.conv(x, 8, 3, pad=1, name="left"))
>>> right = b.pool(x, "MAX", 3, stride=1, pad=1, name="right")
>>> b.shape(b.concat(left, right, name="both"))
(1, 11, 32, 32)
>>> [layer.name for layer in b.build().layers]
['data', 'left', 'left/relu', 'right', 'both']
"""

from __future__ import annotations

from .decorator import block
from .net_builder import NetBuilder

__all__ = ["NetBuilder", "block"]
