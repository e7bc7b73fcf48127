"""PyTorch as a backend of `protogen.verify`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..errors import ProtogenError
from ..memory import release_memory

if TYPE_CHECKING:
    import torch

    from ..graph.graph import Graph
    from .setting import Blobs, Setting, Stream


def run_torch(graph: Graph, feed: Blobs, setting: Setting) -> Stream:
    """Compute every blob, or those that the setting asks for, with PyTorch in `setting.dtype` (float32 without TF32).

    Args:
        graph: the graph.
        feed: input values by blob.
        setting: its `device`, `dtype`, `names`, `noise`, `outputs_only` and `preprocess` apply.

    Yields:
        Blobs in float32, each as its layer makes it.

    Raises:
        ProtogenError: an unknown or unavailable device.
    """
    import torch

    from ..targets.torch.convert import to_torch
    from .noise import Noise

    place = _device(setting.device)
    if setting.preprocess is not None:
        image = setting.preprocess.image_of(graph.inputs).name
        feed = {**feed, image: setting.preprocess.apply(feed[image])}
    kind = getattr(torch, setting.dtype)
    # Not `torch.no_grad`, which would hold for whoever reads the stream, too.
    module: Any = to_torch(graph).requires_grad_(False).to(device=place, dtype=kind)
    tensors = [torch.tensor(feed[value.name]).to(device=place, dtype=kind) for value in graph.inputs]
    if setting.noise is not None:
        noise = Noise(setting.noise, place)
        noise.add_to(module, graph)
        tensors = [noise.rounded(tensor) for tensor in tensors]
    blobs = module.each_blob(*tensors, names=module.output_names if setting.outputs_only else setting.names)
    del tensors
    yield from _as_float32(blobs)
    del module.__dict__["forward"]  # a method of its own: a cycle, which would keep the weights until the collector comes by
    del module, blobs
    release_memory()


def _as_float32(blobs: Iterator[tuple[str, torch.Tensor]]) -> Stream:
    """Yield blobs as arrays; TF32 is off only while a layer computes, and not for whoever reads the stream."""
    while True:
        try:
            with _exact_float32():
                name, blob = next(blobs, ("", None))
        except (IndexError, RuntimeError) as error:  # an index, say, that a layer takes from its bottom's values
            raise ProtogenError(f"PyTorch cannot run this net with these values: {_first_sentence(error)}") from error
        if blob is None:
            return
        value = blob.float().cpu().numpy()
        blob = None
        yield name, value
        del value


def _device(name: str) -> torch.device:
    """Return a device that can compute.

    Raises:
        ProtogenError: there is no such device, or none here.
    """
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ProtogenError(f"unknown device {name!r}; use 'cpu', 'cuda' or 'cuda:1'") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ProtogenError(f"device {name!r} is not available: PyTorch finds no CUDA device")
    try:
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError) as error:  # "meta" holds no values; others need more than PyTorch
        raise ProtogenError(f"device {name!r} cannot be used here: {_first_sentence(error)}") from error
    return device


def _first_sentence(error: Exception) -> str:
    """What PyTorch says is wrong, without the pages that it may add."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].partition(". ")[0]


class _exact_float32:  # noqa: N801  # a context manager, used like a function
    """Disable TF32 on CUDA, which keeps only 10 bits of the inputs' mantissas, while the block runs."""

    def __enter__(self) -> None:
        import torch

        self.before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def __exit__(self, *error: object) -> None:
        import torch

        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = self.before
