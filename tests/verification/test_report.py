"""The report: its verdict, and what a table shows of each row."""

from __future__ import annotations

from dataclasses import replace

from protogen.verification import Report, Row

FINE = Row("opencv / torch", "conv", (1, 4), 1e-6, 1e-6, True)
ROUNDED = Row("opencv / torch", "fc", (1, 4), 2e-5, 2e-5, True, 5e-5, (2e-5, 1e-6))
FAULTY = Row("opencv / torch", "fc", (1, 4), 0.1, 0.2, False, 5e-5, (0.2, 1e-6))


def test_agreement() -> None:
    assert Report(1e-5, rows=[FINE]).verdict == "the only comparison agrees within 1e-05 (largest relative error 1e-06)"
    assert not Report(1e-5).ok, "nothing was compared"


def test_agreement_but_for_rounding_says_so() -> None:
    report = Report(1e-5, rows=[FINE, ROUNDED])
    assert report.ok
    assert report.by_rounding == [ROUNDED]
    assert report.rounding == 0
    assert report.verdict == (
        "all 2 comparisons agree within 1e-05 or within float32's rounding (1 of them) (largest relative error 2e-05)"
    )
    assert [row.verdict for row in report.rows] == ["", "rounding gives up to 5.0e-05"]


def test_a_difference_names_the_tolerance_and_what_float64_says() -> None:
    report = Report(1e-5, rows=[ROUNDED, FAULTY])
    assert not report.ok
    assert report.rounding == 5e-5
    assert report.verdict == (
        "opencv / torch: blob 'fc' (1, 4) is the first that differs: relative error 0.2, tolerance 1e-05 (--tolerance); "
        "PyTorch in float64 is 0.2 away from opencv and 1e-06 from torch, and rounding gives up to 5e-05"
    )
    assert str(report).splitlines()[1].endswith("  DIFFERS")


def test_a_difference_that_rounding_decides() -> None:
    assert (
        "; rounding decides this blob: in float32 it can be off by 0.3"
        in Report(1e-5, rows=[replace(FAULTY, rounding=0.3)]).verdict
    )


def test_a_difference_from_another_model() -> None:
    row = Row("m.onnx / torch", "pool", (1, 4, 6), 0.1, 0.1, False, tensor="17", layers=["'a' (A)", "'b' (B)"])
    assert row.display_name == "pool (17)"
    assert Report(1e-5, rows=[row]).verdict == (
        "m.onnx / torch: blob 'pool' (its tensor '17') (1, 4, 6) is the first that differs, "
        "made by one of the layers 'a' (A), 'b' (B): relative error 0.1, tolerance 1e-05 (--tolerance)"
    )
    smaller = replace(row, other_shape=(1, 4, 5), tensor="", layers=["'a' (A)"])
    assert Report(1e-5, rows=[smaller]).verdict == (
        "m.onnx / torch: blob 'pool' (1, 4, 6) is the first that differs, made by layer 'a' (A): its shape is (1, 4, 5)"
    )
    many = replace(row, layers=[f"'{i}' (A)" for i in range(20)])
    assert "made by one of 20 layers, the last of which are '14' (A), '15' (A)" in Report(1e-5, rows=[many]).verdict


def test_notes_are_printed_before_the_verdict() -> None:
    report = Report(1e-5, rows=[FINE], notes=["input 'a' is its 'b'"])
    assert str(report).splitlines()[1:] == ["input 'a' is its 'b'", report.verdict]


def test_blobs_of_one_value_show_nothing() -> None:
    """Weights of zeros make every layer's result one number, and hide what a converter got wrong."""
    same = replace(FINE, constant=True)
    assert Report(1e-5, rows=[same, same]).verdict.endswith(
        "holds one value only, as with weights of zeros, so this shows nothing"
    )
    assert "shows nothing" not in Report(1e-5, rows=[same, FINE]).verdict
