"""Random graphs over all layer families: every form of a net gives the same numbers, and text and state dicts bring it back.

`PROTOGEN_GRAPHS=20000 pytest tests/test_random_nets.py` tries more graphs than the usual 1,000.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import protogen
from protogen.backends.model_file import onnx_blobs
from protogen.prototxt.reader import read_definition
from tests.random_nets import LEAST, LONGEST_OFFER, MOST, RandomNet, random_net
from tests.running import run_model

GRAPHS = int(os.environ.get("PROTOGEN_GRAPHS", "1000"))
PARTS = 8  # tests, so that several processes can share them
TOLERANCE = 1e-4  # of a blob's largest value
NOISE = TOLERANCE / 10
SMALL = 1e-2  # ONNX Runtime's Sigmoid is right to 1e-7, not to so much of its value: smaller blobs are held against this
Blobs = dict[str, np.ndarray]


# Fewer layers of a seed are the beginning of more: a failure shrinks to the first layers that show it.
SEEDS, LAYERS = st.integers(0, 2**32 - 1), st.integers(LEAST, MOST - LONGEST_OFFER)


@pytest.mark.parametrize("part", range(PARTS))
def test_every_form_of_a_random_net_agrees(part: int) -> None:
    NOISY.clear()
    run = settings(
        max_examples=-(-GRAPHS // PARTS), deadline=None, database=None, print_blob=False,
        phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck),
    )(given(SEEDS, LAYERS)(check))  # fmt: skip
    seed(part)(run)()
    assert len(NOISY) <= GRAPHS / PARTS / 50, (
        f"{len(NOISY)} nets have blobs that are rounding noise, such as:\n{min(NOISY, key=len)}"
    )


class DisagreementError(AssertionError):
    """What is wrong with a net, and the smallest net that shows it: one of its layers alone, if that is enough."""

    def __init__(self, made: RandomNet, error: Exception) -> None:
        self.made, self.error = made, error

    def __str__(self) -> str:
        for alone in self.made.single_layers():
            try:
                check_net(alone)
            except Exception as error:  # whatever goes wrong with it
                return f"{error}\n{alone.text}"
        return f"{self.error}\n{self.made.text}"


def check(seed: int, layers: int) -> None:
    made = random_net(seed, layers)
    assert LEAST <= len(made.net.definition.layer) <= MOST
    try:
        check_net(made)
    except Exception as error:
        raise DisagreementError(made, error) from error


def check_net(made: RandomNet) -> None:
    net, values = made.net, made.values
    inputs = [torch.tensor(values[name]) for name in net.inputs]
    module = net.to_torch()
    with torch.no_grad():
        blobs = {name: tensor.numpy() for name, tensor in module.blobs(*inputs).items()}
        outputs = as_blobs(net.outputs, module(*inputs))
    for name, output in outputs.items():
        np.testing.assert_array_equal(output, blobs[name], f"output {name!r} of the module and of its blobs()")
    check_text_and_state(net, module, inputs, outputs)
    check_close("onnxruntime", by_onnxruntime(net, values, all_blobs=True), blobs, made)
    inference = net.folded()
    with torch.no_grad():
        check_close("torch, folded", as_blobs(inference.outputs, inference.to_torch()(*inputs)), outputs, made)
    check_close("onnxruntime, folded", by_onnxruntime(inference, values), outputs, made)


def check_text_and_state(net: protogen.Net, module: torch.nn.Module, inputs: Sequence[torch.Tensor], outputs: Blobs) -> None:
    """Written and read again it is the same definition, and its module takes the state dict."""
    text = net.to_prototxt()
    assert read_definition(text) == net.definition
    twin = protogen.loads(text)
    assert twin.shapes == net.shapes
    assert twin.outputs == net.outputs
    again = twin.to_torch(seed=1)
    again.load_state_dict(module.state_dict())
    with torch.no_grad():
        for name, output in as_blobs(net.outputs, again(*inputs)).items():
            np.testing.assert_array_equal(output, outputs[name], f"output {name!r} after text and state dict")


def by_onnxruntime(net: protogen.Net, values: Blobs, all_blobs: bool = False) -> Blobs:
    model = net.to_onnx(fold=False, all_blobs=all_blobs)
    if not model.graph.output:  # nothing but inputs that nobody reads
        return {}
    return dict(zip(onnx_blobs(model.graph), run_model(model, values).values()))


def as_blobs(names: Sequence[str], made: torch.Tensor | tuple[torch.Tensor, ...]) -> Blobs:
    tensors = [made] if isinstance(made, torch.Tensor) else made
    return {name: tensor.numpy() for name, tensor in zip(names, tensors)}


def check_close(what: str, actual: Blobs, expected: Blobs, made: RandomNet) -> None:
    """Each blob within the tolerance; all outputs must be there."""
    assert set(made.net.outputs) <= {*actual, *made.net.inputs}, what
    for name, value in actual.items():
        error = relative_error(value, expected[name])
        if error > TOLERANCE and not is_noise(name, expected, made):
            raise AssertionError(f"{what}: blob {name!r} {value.shape} is off by {error:.2g} of its largest value")


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    assert actual.shape == expected.shape
    if not expected.size:
        return 0.0
    assert np.isfinite(expected).all()
    return float(np.abs(actual - expected).max() / max(np.abs(expected).max(), SMALL))


def is_noise(name: str, expected: Blobs, made: RandomNet) -> bool:
    """Whether float32 cannot tell a blob, so that no two ways of computing agree: the sum of centred values, say.

    Either PyTorch's own float32 is off from float64, or inputs changed by as much as float32 rounds them change the blob.
    """
    exact = in_float64(name, made, 0.0)
    noisy = max(relative_error(expected[name], exact), relative_error(in_float64(name, made, 1e-7), exact)) > NOISE
    if noisy:
        NOISY.add(made.text)
    return noisy


def in_float64(name: str, made: RandomNet, change: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    inputs = [
        made.values[each].astype(np.float64) * (1 + change * rng.standard_normal(made.values[each].shape))
        for each in made.net.inputs
    ]
    with torch.no_grad():
        return made.net.to_torch().double().blobs(*map(torch.tensor, inputs))[name].numpy()


NOISY: set[str] = set()  # nets with a blob that is rounding noise
