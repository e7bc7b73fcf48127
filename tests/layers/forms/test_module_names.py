"""The names that a net's PyTorch module gives its submodules."""

from __future__ import annotations

import protogen
from protogen.layers.forms.module_names import RESERVED


def test_reserved_names_are_the_attributes_of_the_module() -> None:
    """A layer named "loss" or "blobs" must not hide what the module itself has."""
    from torch import nn

    from protogen.targets.torch.module import NetModule

    data = 'layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 } } }'
    text = data + 'layer { name: "p" type: "Power" bottom: "d" top: "p" }'
    module = protogen.loads(text).to_torch()
    own = {*dir(NetModule), *vars(module)} - {*dir(nn.Module()), "forward"}
    assert {name for name in own if not name.startswith("__")} == set(RESERVED)


def test_every_name_of_the_state_dict_is_taken_back() -> None:
    layers = "".join(
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "d" top: "t{i}" inner_product_param {{ num_output: 2 }} }}'
        for i, name in enumerate(["loss", "forward", "a.b", "a_b", "class", "blobs", ""])
    )
    net = protogen.loads('layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 dim: 3 } } }' + layers).fill(1)
    from protogen.graph.state_dict import keys_of

    assert list(keys_of([op for op in net.analysis.ops if op is not None])) == list(net.to_torch().state_dict())
