"""Every layer type against real Caffe: shapes, values, running sums, gradients; and ONNX Runtime likewise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from tests.oracle import BACKWARD, FORWARD, Case, assert_close, case_ids, cases
from tests.running import run_model


def load(case: Case) -> protogen.Net:
    net = protogen.loads(case.prototxt, phase=case.phase)
    for layer, blobs in case.per_layer("param").items():
        net.weights[layer] = blobs
    return net


@pytest.mark.parametrize(("family", "name"), case_ids())
def test_torch_gives_caffes_numbers(family: str, name: str) -> None:
    case = cases(family)[name]
    assert_caffes(case, load(case))


def assert_caffes(case: Case, net: protogen.Net) -> None:
    """Hold the blobs of a net, its running sums and its gradients against Caffe's."""
    module = net.to_torch()
    inputs = {blob: torch.tensor(value) for blob, value in case.of("in").items()}
    in_diffs, top_diffs = case.of("in_diff"), case.of("top_diff")
    for blob in in_diffs:
        inputs[blob].requires_grad_()
    blobs = module.blobs(*[inputs[blob] for blob in net.inputs])
    for blob, expected in case.of("out").items():
        assert_close(blobs[blob].detach().numpy(), expected, FORWARD, f"blob {blob}")
    for layer, expected_blobs in case.per_layer("param_after").items():
        for i, (tensor, expected) in enumerate(zip(module.caffe_params(layer), expected_blobs)):
            assert_close(tensor.detach().numpy(), expected, FORWARD, f"blob {i} of {layer} after forward")
    if not in_diffs and not case.of("param_diff"):
        return
    if not net.definition.force_backward and not any(op.is_loss for op in net.ops):
        # Caffe skips the backward pass of layers that lead to no loss (Net::Init): it left its gradients at zero.
        assert not in_diffs
        assert not any(diff.any() for diffs in case.per_layer("param_diff").values() for diff in diffs)
        return
    if top_diffs:
        sum((blobs[blob] * torch.tensor(diff)).sum() for blob, diff in top_diffs.items()).backward()
    else:
        module.loss(*[inputs[blob] for blob in net.inputs]).backward()
    for blob, expected in in_diffs.items():
        grad = inputs[blob].grad
        actual = np.zeros_like(expected) if grad is None else grad.numpy()
        assert_close(actual, expected, BACKWARD, f"gradient of {blob}")
    for layer, expected_diffs in case.per_layer("param_diff").items():
        for i, (grad, expected) in enumerate(zip(module.caffe_grads(layer), expected_diffs)):
            actual = np.zeros_like(expected) if grad is None else grad.numpy()
            assert_close(actual, expected, BACKWARD, f"gradient of blob {i} of {layer}")


@pytest.mark.parametrize(("family", "name"), case_ids())
def test_onnx_runtime_gives_caffes_numbers(family: str, name: str) -> None:
    case = cases(family)[name]
    if case.phase != "TEST":
        pytest.skip("ONNX is an inference format; this case is in phase TRAIN")
    net = load(case)
    notes = [op.onnx_note for op in net.ops if op.only_trains]
    if notes:
        pytest.skip(notes[0])
    results = run_model(net.to_onnx(), case.of("in"))
    for blob, expected in case.of("out").items():
        if blob in net.inputs:
            continue
        assert_close(results[blob], expected, FORWARD, f"blob {blob}")
