"""What `verify` returns: a row for each blob of each comparison, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import printable

_MAX_LISTED = 6  # layers in a verdict


@dataclass(frozen=True)
class Row:
    """One blob of one comparison.

    Attributes:
        comparison: the run and its reference ("onnxruntime / torch").
        blob, shape: the blob's name, and its shape in the reference.
        max_abs: largest absolute difference.
        max_rel: `max_abs` over the reference's largest value.
        ok: whether `max_rel` is within the tolerance, or rounding accounts for it.
        rounding: what rounding to float32 accounts for, relative to the blob's largest value; None unless it was asked for:
            only where the tolerance is exceeded. See `Arbiter`.
        distances: relative errors of the run and of its reference against PyTorch in float64; None likewise.
        other_shape: the shape in the run, if it is another one.
        tensor: its name in the model that the net is compared with, if it is another one.
        constant: every value of the reference is the same, so that most mistakes would not show.
        layers: of a blob that differs from such a model's: the layers that make it from blobs that agree, as "'name' (type)".
    """

    comparison: str
    blob: str
    shape: tuple[int, ...]
    max_abs: float
    max_rel: float
    ok: bool
    rounding: float | None = None
    distances: tuple[float, float] | None = None
    other_shape: tuple[int, ...] | None = None
    tensor: str = ""
    constant: bool = False
    layers: Sequence[str] = ()

    @property
    def by_rounding(self) -> bool:
        """Whether the blob exceeds the tolerance by no more than rounding accounts for."""
        return self.ok and self.rounding is not None

    @property
    def verdict(self) -> str:
        """ "differs", or "rounding" with what it accounts for; "" within the tolerance."""
        if self.by_rounding:
            return f"rounding gives up to {self.rounding:.1e}"
        if self.other_shape is not None:
            return f"differs: {'x'.join(map(str, self.other_shape))}"
        return "" if self.ok else "differs"

    @property
    def display_name(self) -> str:
        """The blob's name, with that of the other model's tensor if it is another one."""
        return f"{self.blob} ({self.tensor})" if self.tensor else self.blob

    def difference(self, tolerance: float) -> str:
        """Describe a blob that differs, for the verdict."""
        named = f"blob {self.blob!r}" + (f" (its tensor {self.tensor!r})" if self.tensor else "")
        made = f", made by {_some(self.layers)}" if self.layers else ""
        text = f"{self.comparison}: {named} {self.shape} is the first that differs{made}: "
        if self.other_shape is not None:
            return f"{text}its shape is {self.other_shape}"
        return f"{text}relative error {self.max_rel:.2g}, tolerance {tolerance:g} (--tolerance){self._explained()}"

    def _explained(self) -> str:
        """What PyTorch in float64 says of a blob that differs."""
        if self.rounding is None or self.distances is None:
            return ""
        if self.rounding >= self.max_rel:
            return f"; rounding decides this blob: in float32 it can be off by {self.rounding:.2g}"
        run, reference = self.comparison.split(" / ")
        run_distance, reference_distance = self.distances
        return (
            f"; PyTorch in float64 is {run_distance:.2g} away from {run} and {reference_distance:.2g} from {reference}, "
            f"and rounding gives up to {self.rounding:.2g}"
        )


@dataclass
class Report:
    """Result of `verify`: `rows`, `ok`, and `first_difference`, the first blob that differs; `print` shows a table.

    Attributes:
        tolerance: largest error allowed, relative to a blob's largest value.
        outputs: outputs of the net, or of the part before its postprocessing if that is cut off.
        rows: one for each blob of each comparison.
        left_out: blobs that are not compared, because half-precision weights or values reorder detections.
        notes: another batch than the net's own; of a comparison with another model: how its inputs and outputs were identified,
            and what is not compared.
    """

    tolerance: float
    outputs: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every blob agrees, and there was at least one."""
        return bool(self.rows) and all(row.ok for row in self.rows)

    @property
    def first_difference(self) -> Row | None:
        """The first row that differs by more than the tolerance, and more than rounding accounts for."""
        return next((row for row in self.rows if not row.ok), None)

    @property
    def by_rounding(self) -> list[Row]:
        """The rows that exceed the tolerance by no more than rounding accounts for."""
        return [row for row in self.rows if row.by_rounding]

    @property
    def rounding(self) -> float:
        """What rounding accounts for in the first blob that differs; 0 if none does.

        If it is no smaller than the error, rounding decides the blob (near ties of an ArgMax, a pooling mask, detections), and
        the difference says nothing about the conversion.
        """
        row = self.first_difference
        return row.rounding or 0.0 if row else 0.0

    def worst(self, comparison: str) -> Row:
        """Return the row with the largest relative error in a comparison."""
        return max((row for row in self.rows if row.comparison == comparison), key=lambda row: row.max_rel)

    @property
    def comparisons(self) -> list[str]:
        """Names of the comparisons, in order."""
        return list(dict.fromkeys(row.comparison for row in self.rows))

    @property
    def verdict(self) -> str:
        """One line: agreement, or the first blob that differs."""
        row = self.first_difference
        if row is None:
            return self._agreement()
        return row.difference(self.tolerance)

    def _agreement(self) -> str:
        worst = max((row.max_rel for row in self.rows), default=0.0)
        within = f"{self.tolerance:g}"
        if self.by_rounding:
            within += f" or within float32's rounding ({len(self.by_rounding)} of them)"
        left_out = ", ".join(map(printable, self.left_out))
        note = f"; not compared, because half precision reorders rows: {left_out}" if left_out else ""
        if all(row.constant for row in self.rows):
            note += "; but every blob holds one value only, as with weights of zeros, so this shows nothing"
        number = f"all {len(self.rows)} comparisons agree" if len(self.rows) != 1 else "the only comparison agrees"
        return f"{number} within {within} (largest relative error {worst:.2g}){note}"

    def __str__(self) -> str:
        lines = [
            f"{row.comparison:24} {printable(row.display_name):32} {row.shape!s:20} {row.max_abs:9.2e} {row.max_rel:9.2e}"
            + (f"  {row.verdict}" if row.ok else f"  {row.verdict.upper()}").rstrip()
            for row in self.rows
        ]
        return "\n".join([*lines, *map(printable, self.notes), self.verdict])


def _some(layers: Sequence[str]) -> str:
    """List layers, only the last few of many: those nearest to the blob."""
    shown = ", ".join(layers[-_MAX_LISTED:])
    if len(layers) > _MAX_LISTED:
        return f"one of {len(layers)} layers, the last of which are {shown}"
    return f"one of the layers {shown}" if len(layers) > 1 else f"layer {shown}"
