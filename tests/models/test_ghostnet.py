"""GhostNet: the paper's figures, and a ghost module by hand."""

from __future__ import annotations

import pytest

from protogen import NetError
from protogen.models import ghostnet
from protogen.models.ghostnet import ghost
from tests.nets import begun


@pytest.mark.parametrize(("width", "parameters", "macs"), [(0.5, 2.6, 42), (1.0, 5.2, 141), (1.3, 7.3, 226)])
def test_the_papers_widths(width: float, parameters: float, macs: int) -> None:
    """Table 7: millions of weights and of multiply-adds."""
    net = ghostnet(width=width)
    assert net.param_count / 1e6 == pytest.approx(parameters, abs=0.06)
    assert net.macs / 1e6 == pytest.approx(macs, abs=1.1)


def test_a_ghost_module_costs_half_of_a_convolution() -> None:
    b = begun((1, 16, 32, 32))
    assert b.shape(ghost(b, "data", 32, "ghost")) == (1, 32, 32, 32)
    assert b.build().macs == 32 * 32 * (16 * 16 + 16 * 9)


def test_wrong_values() -> None:
    with pytest.raises(NetError, match="width must be positive"):
        ghostnet(width=0.0)
