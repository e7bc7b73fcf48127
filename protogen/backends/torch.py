"""PyTorch as a backend of `protogen.verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import ProtogenError

if TYPE_CHECKING:
    from ..graph.graph import Graph
    from .setting import Blobs, Setting


def run_torch(graph: Graph, feed: Blobs, setting: Setting) -> Blobs:
    """Every blob by PyTorch, or the outputs only, computed in `setting.dtype` (float32 without TF32), as float32.

    Raises:
        ProtogenError: an unknown device, or one that is not there.
    """
    import torch

    from ..targets.torch.convert import to_torch

    try:
        place = torch.device(setting.device)
    except RuntimeError as error:
        raise ProtogenError(f"unknown device {setting.device!r}; name one as 'cpu', 'cuda' or 'cuda:1'") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ProtogenError("device 'cuda' was asked for, but PyTorch sees no CUDA device here")
    if setting.preprocess is not None:
        image = setting.preprocess.image_of(graph.inputs).name
        feed = {**feed, image: setting.preprocess.apply(feed[image])}
    kind = getattr(torch, setting.dtype)
    module: Any = to_torch(graph).to(device=place, dtype=kind)
    tensors = [torch.tensor(feed[value.name]).to(device=place, dtype=kind) for value in graph.inputs]
    with torch.no_grad(), _exact_float32():
        blobs = module.blobs(*tensors)
    wanted = module.output_names if setting.outputs_only else blobs
    return {name: blobs[name].float().cpu().numpy() for name in wanted}


class _exact_float32:  # noqa: N801  # a context manager, used like a function
    """CUDA without TF32, which keeps only 10 bits of the inputs' mantissas; the settings before are put back."""

    def __enter__(self) -> None:
        import torch

        self.before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def __exit__(self, *error: object) -> None:
        import torch

        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = self.before
