"""ProposalLayer of SSH, the single stage headless face detector (mahyarnajibi/SSH, SSH/layers/proposal_layer.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..limits import LOWEST
from ..python import arguments, register_python
from .proposal import PythonProposal

if TYPE_CHECKING:
    from torch import Tensor

    from ..forms.onnx_graph import OnnxGraph


@register_python("ProposalLayer", "SSH.layers.proposal_layer")
class SSHProposal(PythonProposal):
    """The 1000 best boxes of one module of SSH, and their scores (R, 1, 1, 1), without suppression, for one image.

    `param_str` sets `feat_stride`, and optionally `scales` (8, 16, 32), `ratios` (0.5, 1, 2) and `base_size` (16). The number
    of boxes and their smallest size, 0, are those of SSH/configs/default_config.yml. The program suppresses overlapping boxes
    of all modules itself. Only for TEST: SSH's nets to train have no such layer.
    """

    known_arguments = frozenset(("feat_stride", "scales", "ratios", "base_size"))
    is_exportable = True  # nothing is suppressed

    def setup(self) -> None:
        settings = arguments(self.layer)
        stride, base = settings.get("feat_stride"), settings.get("base_size", 16)
        if not isinstance(stride, int):
            raise self.error(f"param_str must set feat_stride, a whole number: {self.param.param_str!r}")
        self.check(isinstance(base, int), f"base_size must be a whole number, not {base!r}")
        ratios = self._numbers("ratios", settings.get("ratios", (0.5, 1, 2)))
        scales = self._numbers("scales", settings.get("scales", (8, 16, 32)))
        self.configure(stride, base, ratios, scales, round)
        self.check(self.bottoms[0][0] == 1, f"takes one image at a time, not {self.bottoms[0][0]}")
        self.check(self.phase == "TEST", "is computed in phase TEST only")
        self.min_size, self.before = 0, 1000
        self.tops = [(1, 5), (1, 1, 1, 1)][: len(self.layer.tops)]

    def _numbers(self, name: str, values: Any) -> list[float]:
        numbers = isinstance(values, (list, tuple)) and all(isinstance(value, (int, float)) for value in values)
        self.check(numbers and len(values) > 0, f"{name} must be a list of numbers, not {values!r}")
        return list(values)

    def kept(self, boxes: Tensor, valid: Tensor) -> Tensor:
        return valid

    def _onnx_kept(self, graph: OnnxGraph, boxes: str, scores: str) -> str:
        return graph.add("Greater", scores, graph.scalar(LOWEST))
