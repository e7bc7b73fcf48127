"""Fine-tuning files: `lr_mult: 0` freezes on request, `propagate_down: false` stops gradients, as in Caffe."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from protogen import ConversionError
from tests.running import compile_whole
from tests.targets.torch.nets import small_net


def chain(*params: str, more: str = "") -> protogen.Net:
    """x (2, 3), then one InnerProduct without bias for each of `params`, 3 to 3, then a EuclideanLoss to t."""
    text = "".join(
        f'layer {{ name: "fc{i}" type: "InnerProduct" bottom: "{f"fc{i - 1}" if i else "x"}" top: "fc{i}" {param} '
        'inner_product_param { num_output: 3 bias_term: false weight_filler { type: "xavier" } } }'
        for i, param in enumerate(params)
    )
    return protogen.loads(
        f"""input: "x" input_shape {{ dim: 2 dim: 3 }}  input: "t" input_shape {{ dim: 2 dim: 3 }} {text}
        layer {{ name: "loss" type: "EuclideanLoss" bottom: "fc{len(params) - 1}" bottom: "t" top: "loss" {more} }}""",
        phase="TRAIN",
    ).fill(3)


X, T = torch.tensor([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]]), torch.tensor([[0.0, 1.0, 0.0], [1.0, 1.0, 2.0]])


def grads(net: protogen.Net, **options: bool) -> dict[str, list[torch.Tensor | None]]:
    module = net.to_torch(**options)
    module.loss(X, T).backward()
    return {layer: module.caffe_grads(layer) for layer in net.param_shapes}


def test_weights_of_lr_mult_0_get_no_gradient_and_the_others_get_the_same_one() -> None:
    net = chain("param { lr_mult: 0 }", "param { lr_mult: 2 }", "param { lr_mult: 0 decay_mult: 1 }")
    first, second, third = (net.weights[name][0].astype(np.float64) for name in ("fc0", "fc1", "fc2"))
    hidden = X.numpy() @ first.T
    error = (hidden @ second.T @ third.T - T.numpy()) / 2  # EuclideanLoss divides by the batch
    frozen = grads(net, freeze=True)
    assert (frozen["fc0"], frozen["fc2"]) == ([None], [None])
    np.testing.assert_allclose(frozen["fc1"][0], (error @ third).T @ hidden, rtol=1e-5)
    assert None not in grads(net)["fc0"], "only on request"


def test_nothing_is_computed_backwards_below_the_lowest_trained_layer() -> None:
    """`need_backward` in Caffe's Net::Init: it begins at the first layer with a blob of lr_mult other than 0."""
    net = chain("param { lr_mult: 0 }", "param { lr_mult: 0 }", "")
    blobs = net.to_torch(freeze=True).blobs(X, T)
    assert [blobs[name].requires_grad for name in ("fc0", "fc1", "fc2", "loss")] == [False, False, True, True]


def test_one_blob_of_a_layer_can_be_frozen() -> None:
    net = protogen.loads("""
        input: "x" input_shape { dim: 2 dim: 3 }
        layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y" param { } param { lr_mult: 0 }
                inner_product_param { num_output: 3 } }""")
    module = net.to_torch(freeze=True)
    module(X).sum().backward()
    weight, bias = module.caffe_grads("fc")
    assert weight.tolist() == [[1.5, 2.0, 2.0]] * 3
    assert bias is None


@pytest.mark.parametrize(
    ("owner", "sharer", "frozen"),
    [
        ('name: "w" lr_mult: 0', 'name: "w"', True),  # the default of 1 is not stated, so it does not count
        ('name: "w"', 'name: "w" lr_mult: 0', True),
        ('name: "w" lr_mult: 0', 'name: "w" lr_mult: 0', True),
        ('name: "w" lr_mult: 0', 'name: "v" lr_mult: 1', False),
    ],
)
def test_a_shared_blob_has_the_lr_mult_that_one_of_its_layers_states(owner: str, sharer: str, frozen: bool) -> None:
    trained = grads(chain(f"param {{ {owner} }}", f"param {{ {sharer} }}", ""), freeze=True)
    assert trained["fc0"] == [None]
    assert (trained["fc1"] == [None]) == frozen


def test_layers_that_share_a_blob_must_agree() -> None:
    net = chain('param { name: "w" lr_mult: 0 }', 'param { name: "w" lr_mult: 1 }')
    with pytest.raises(ConversionError, match=r"layer 'fc1' .*lr_mult 1 of the shared blob 'w' is 0 in layer 'fc0'"):
        net.to_torch(freeze=True)
    net.to_torch()


def test_propagate_down_cuts_one_way_of_two() -> None:
    """The layers below get what comes through the other bottom only; a layer whose every reader is cut gets nothing."""
    net = protogen.loads("""
        input: "x" input_shape { dim: 2 dim: 3 }
        layer { name: "a" type: "Scale" bottom: "x" top: "a" }
        layer { name: "b" type: "Scale" bottom: "a" top: "b" }
        layer { name: "s" type: "Eltwise" bottom: "a" bottom: "b" top: "s" propagate_down: true propagate_down: false }""")
    net.weights = {"a": [np.full(3, 2.0)], "b": [np.full(3, 5.0)]}
    module = net.to_torch()
    module(X).sum().backward()
    assert module.caffe_grads("a")[0].tolist() == [1.5, 2.0, 2.0], "the sums of x, not of x + 5 x"
    assert module.caffe_grads("b") == [None]


def test_a_loss_that_passes_nothing_down_trains_nothing() -> None:
    net = chain("", "param { lr_mult: 1 }", more="propagate_down: false propagate_down: false")
    module = net.to_torch()
    assert not module.loss(X, T).requires_grad


def test_a_frozen_module_compiles_and_exports() -> None:
    net = chain("param { lr_mult: 0 }", "")
    module = net.to_torch(freeze=True)
    compiled, program = compile_whole(module), torch.export.export(module.eval(), (X, T)).module()
    assert torch.equal(compiled(X, T), module(X, T))
    assert torch.equal(program(X, T), module(X, T))
    compiled(X, T).backward()
    assert module.caffe_grads("fc0") == [None]
    assert module.caffe_grads("fc1")[0] is not None


def test_batch_norms_running_sums_follow_although_their_lr_mult_is_0() -> None:
    net = small_net("TRAIN")
    module = net.to_torch(freeze=True)
    before = [blob.clone() for blob in module.caffe_params("one/bn")]
    module(torch.randn(2, 3, 12, 12))
    assert all(not torch.equal(blob, old) for blob, old in zip(module.caffe_params("one/bn"), before))


def test_folding_would_mix_what_is_frozen_and_what_is_not() -> None:
    with pytest.raises(ConversionError, match="fold and freeze exclude each other"):
        small_net().to_torch(fold=True, freeze=True)
