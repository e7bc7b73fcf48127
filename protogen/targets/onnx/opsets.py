"""Versions of ONNX's operator set that models can be written in."""

from __future__ import annotations

from ...errors import ConversionError

OPSETS = range(11, 29)
"""Every operator that layers emit keeps its meaning and its attributes from one of these to the next, but for what
`layers/forms/onnx_graph.py` hides; the later ones mostly add element types."""
DEFAULT_OPSET = 17


def require_supported(opset: int) -> None:
    """Check that models can be written in an opset.

    Raises:
        ConversionError: they cannot.
    """
    if not isinstance(opset, int) or opset not in OPSETS:
        raise ConversionError(f"opset {opset!r} is not supported; choose one of {OPSETS[0]} to {OPSETS[-1]}")


def ir_version(opset: int) -> int:
    """Return the version of the file format that was released with an opset, the oldest that may hold it.

    Raises:
        ConversionError: the installed onnx is older than the opset, and could not check the model.

    >>> ir_version(17), ir_version(25)
    (8, 13)
    """
    import onnx

    newest = onnx.defs.onnx_opset_version()
    if opset > newest:
        raise ConversionError(
            f"opset {opset} is newer than the installed onnx {onnx.__version__}, which knows opsets up to {newest}: "
            f"choose one of {OPSETS[0]} to {newest}, or pip install --upgrade onnx"
        )
    return onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)])
