"""Random nets over all layer families, for property tests.

A net grows from a table of offers. Each offer says which blobs it can read (`fits`), which input it makes for itself where no
blob at hand fits (`fresh`), and appends one layer, or the few that belong together.

Both sides of a comparison round differently, so what is discontinuous (Threshold, ArgMax, pooling masks, detections) reads
only blobs known to the last bit: inputs, and what was merely moved. Steep functions read only `tame` blobs (|x| <= 2), logarithms
and roots only `positive` ones.
"""

from __future__ import annotations

from importlib import import_module

from .growing import LEAST, LONGEST_OFFER, MOST, RandomNet, random_net

__all__ = ["LEAST", "LONGEST_OFFER", "MOST", "RandomNet", "random_net"]

# They fill the table, in this order: the nets of a seed follow from it.
for _name in ("elementwise", "factors", "products", "windows", "joining", "moving", "sources", "detection"):
    import_module(f".{_name}", __name__)
