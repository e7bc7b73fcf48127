"""A folder converted: the same tree, every failure one file's, nothing half-written, and the report."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import protogen
from protogen import ProtogenError, convert_tree
from protogen.progress import listening
from protogen.report.conversions import ConversionReport, FileRow
from tests.batch.nets import harm, install_plugin, save_weights, text, write
from tests.commands import ROOT
from tests.running import assert_same, by_torch, run_model


def tree(folder: Path) -> list[str]:
    """All files in a folder, hidden ones included."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def rows(report: ConversionReport) -> dict[str, FileRow]:
    return {row.source: row for row in report.rows}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder of two nets with weights, one without, a solver, and one that is no good."""
    folder = tmp_path / "models"
    write(folder, a__deploy=text(), a__train_val=text(), a__solver='net: "train_val.prototxt" base_lr: 0.1')
    write(folder, b__deep__net=text(channels=6), bad__broken=text().replace("kernel_size: 3", "kernal_size: 3"))
    save_weights(folder / "a" / "model.caffemodel", text())
    return folder


def test_the_tree_is_kept_and_failures_go_on(models: Path, tmp_path: Path) -> None:
    report = convert_tree(models, tmp_path / "out", jobs=2)
    assert tree(tmp_path / "out") == ["a/deploy.onnx", "a/train_val.onnx", "b/deep/net.onnx", "report.json"]
    assert not (tmp_path / "out" / "bad").exists()
    assert not report.ok
    assert {row.source: row.status for row in report.rows} == {
        "a/deploy.prototxt": "converted",
        "a/solver.prototxt": "not a net",
        "a/train_val.prototxt": "converted",
        "b/deep/net.prototxt": "converted",
        "bad/broken.prototxt": "refused",
    }
    broken = rows(report)["bad/broken.prototxt"]
    assert broken.message.startswith("4:43: unknown field 'kernal_size'")
    assert rows(report)["a/solver.prototxt"].message.startswith("this is a solver, not a net")


def test_the_models_compute_what_the_nets_with_their_weights_do(models: Path, tmp_path: Path) -> None:
    convert_tree(models, tmp_path / "out", jobs=1)
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8), dtype=np.float32)
    net = protogen.load(models / "a" / "deploy.prototxt", models / "a" / "model.caffemodel")
    assert_same([run_model(tmp_path / "out" / "a" / "deploy.onnx", x)["fc"]], by_torch(net, {"data": x}), 1e-4)


def test_the_report_as_json(models: Path, tmp_path: Path) -> None:
    options = {"dynamic_batch": True, "rename": {"data": "images"}}
    report = convert_tree(models, tmp_path / "out", reading={"inputs": {"data": (2, 3, 8, 8)}}, **options)
    data = json.loads((tmp_path / "out" / "report.json").read_text())
    assert data == json.loads(json.dumps(report.as_dict()))
    assert list(data) == ["version", "protogen", "source", "target", "format", "seconds", "counts", "files"]
    assert (data["version"], data["format"]) == (1, ".onnx")
    keys = "source status message weights matched_by note unsure output inputs outputs warnings ignored seconds"
    assert {" ".join(file) for file in data["files"]} == {keys}
    (deploy, *_) = data["files"]
    assert deploy.pop("seconds") > 0
    assert deploy == {
        "source": "a/deploy.prototxt", "status": "converted", "message": "", "weights": "a/model.caffemodel",
        "matched_by": "layers", "note": "", "unsure": False, "output": "a/deploy.onnx",
        "inputs": {"images": ["N", 3, 8, 8]}, "outputs": {"fc": ["N", 5]}, "warnings": [], "ignored": [],
    }  # fmt: skip


@pytest.mark.parametrize(("ending", "outputs"), [(".prototxt", {"fc": [1, 5]}), (".caffemodel", {"fc": [1, 5]})])
def test_other_formats(models: Path, tmp_path: Path, ending: str, outputs: dict[str, list[int]]) -> None:
    report = convert_tree(models, tmp_path / "out", ending, jobs=1)
    deploy = rows(report)["a/deploy.prototxt"]
    assert (deploy.output, deploy.inputs, deploy.outputs) == (f"a/deploy{ending}", {"data": [1, 3, 8, 8]}, outputs)
    assert (tmp_path / "out" / "a" / f"deploy{ending}").exists()


def test_outputs_never_overwrite_what_is_read(models: Path) -> None:
    before = {path: path.read_bytes() for path in models.rglob("*") if path.is_file()}
    save_weights(models / "a" / "deploy.caffemodel", text())
    in_place = convert_tree(models, models, ".prototxt", jobs=1)
    assert "its output would overwrite" in rows(in_place)["a/deploy.prototxt"].message
    over_weights = convert_tree(models, models, ".caffemodel", jobs=1)
    assert "its output would overwrite" in rows(over_weights)["a/deploy.prototxt"].message
    assert {path: path.read_bytes() for path in before} == before


def test_a_folder_of_outputs_in_the_folder_read(models: Path) -> None:
    first = convert_tree(models, models / "out", ".prototxt", jobs=1)
    again = convert_tree(models, models / "out", ".prototxt", jobs=1)
    assert [row.source for row in again.rows] == [row.source for row in first.rows]


def test_settings_that_no_net_has_a_place_for_are_warned_of(models: Path, tmp_path: Path) -> None:
    with pytest.warns(protogen.ProtogenWarning, match=r"no net in .*models has input 'dta'$"):
        report = convert_tree(models, tmp_path / "out", ".prototxt", jobs=1, reading={"inputs": {"dta": (1, 3, 8, 8)}})
    assert rows(report)["a/deploy.prototxt"].status == "converted"


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    name = os.fsdecode(b"caf\xe9.prototxt")
    try:
        (folder / name).write_text(text().replace('"fc"', '"f\\377"'))
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    report = convert_tree(folder, tmp_path / "out", ".prototxt", jobs=1)
    assert report.ok
    assert os.fsencode(next((tmp_path / "out").glob("caf*")).name) == b"caf\xe9.prototxt"
    (file,) = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))["files"]
    assert (file["source"], file["outputs"]) == ("caf\\udce9.prototxt", {"f\\udcff": [1, 5]})


def test_progress_is_reported(models: Path, tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    with listening(lambda *step: steps.append(step)):
        convert_tree(models, tmp_path / "out", ".prototxt", jobs=1)
    assert steps == [("converting", done, 5) for done in range(6)]


@pytest.mark.parametrize(
    ("source", "target", "options", "message"),
    [
        ("empty", "out", {}, "empty: no prototxt in this folder"),
        ("nowhere", "out", {}, "No such file or directory"),
        ("models", "file", {}, "file: cannot create this folder: File exists"),
        ("models", "out", {"ending": ".tflite"}, "no format for the ending '.tflite'"),
        ("models", "out", {"opset": 5}, "opset 5 is not supported"),
        ("models", "out", {"ending": ".pth", "opset": 13}, "takes no option 'opset'"),
    ],
)
def test_what_concerns_all_files_is_told_at_once(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, target: str, options: dict[str, object],
    message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("file").write_text("mine")
    with pytest.raises(ProtogenError) as error:
        convert_tree(source, target, **options)  # type: ignore[arg-type]
    assert message in str(error.value)
    assert Path("file").read_text() == "mine"


def test_arguments_that_load_does_not_have(models: Path, tmp_path: Path) -> None:
    for name in ("inptus", "weights"):
        with pytest.raises(TypeError, match=f"unexpected argument '{name}'"):
            convert_tree(models, tmp_path / "out", reading={name: {}})
    assert not (tmp_path / "out").exists()


# ---- processes that come to harm


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = install_plugin(tmp_path / "plugin")
    monkeypatch.syspath_prepend(folder)  # worker processes have this process's path
    return folder


def test_harm_to_one_process_is_one_failure(plugin: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "models"
    kinds = ("exit", "kill", "crash", "leave", "bug", "print")
    write(folder, good=text(), **{kind: harm(kind) for kind in kinds}, late=harm("exit before renaming"))
    report = convert_tree(folder, tmp_path / "out", jobs=2)
    outcomes = {Path(row.source).stem: (row.status, row.message) for row in report.rows}
    assert outcomes == {
        "good": ("converted", ""),
        "print": ("converted", ""),
        "exit": ("failed", "its process ended by itself (exit status 7)"),
        "late": ("failed", "its process ended by itself (exit status 7)"),
        "kill": ("failed", "its process was killed (SIGKILL), as systems do when memory runs out"),
        "crash": ("failed", "its process crashed (SIGABRT)"),
        "leave": ("failed", "unexpected SystemExit: 3"),
        "bug": ("refused", "8:7: layer 'harm' (Harm): harm_plugin.Harm.setup fails: TypeError: a slip of its author"),
    }
    assert tree(tmp_path / "out") == ["good.onnx", "print.onnx", "report.json"], "no temporary file of the killed one"
    assert "noise" not in "".join(capfd.readouterr())


def test_a_time_limit(plugin: Path, tmp_path: Path) -> None:
    write(tmp_path / "models", good=text(), hang=harm("hang before renaming"))
    report = convert_tree(tmp_path / "models", tmp_path / "out", jobs=2, timeout=12)
    assert rows(report)["hang.prototxt"].message.startswith("not done within 12 seconds")
    assert tree(tmp_path / "out") == ["good.onnx", "report.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="process groups")
def _takes_interrupts() -> None:
    """Undo what a shell does to what it runs in the background: its processes ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupt_leaves_no_half_written_file(plugin: Path, tmp_path: Path) -> None:
    """Ctrl-C in a terminal, which every process of the command gets."""
    write(tmp_path / "models", first=text(), hang=harm("hang before renaming"), hang2=harm("hang before renaming"), last=text())
    out = tmp_path / "out"
    command = [sys.executable, "-m", "protogen", "convert", str(tmp_path / "models"), "-o", str(out), "-j", "2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(plugin)])}
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE}
    child = subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=_takes_interrupts, **pipes)
    try:
        end = time.monotonic() + 100
        while len(list(out.glob(".*.tmp"))) < 2:
            assert time.monotonic() < end
            time.sleep(0.05)
        os.killpg(child.pid, signal.SIGINT)
        printed, told = child.communicate(timeout=60)
    finally:
        child.kill()
    assert (child.returncode, printed.strip(), told.strip()) == (130, b"", b"Error: interrupted")
    assert tree(out) == ["first.onnx", "report.json"]
    statuses = {file["source"]: file["status"] for file in json.loads((out / "report.json").read_text())["files"]}
    assert statuses == {
        "first.prototxt": "converted",
        "hang.prototxt": "not reached",
        "hang2.prototxt": "not reached",
        "last.prototxt": "not reached",
    }


def test_a_loss_that_does_not_fit_is_left_out_as_of_a_single_file(tmp_path: Path) -> None:
    loss = 'layer { name: "loss" type: "EuclideanLoss" bottom: "c" bottom: "label" top: "loss" }'
    sources = "".join(f'layer {{ name: "{name}" type: "Input" top: "{name}" }}' for name in ("x", "label"))
    relu = 'layer { name: "c" type: "ReLU" bottom: "x" top: "c" }'
    write(tmp_path / "in", a=f"{sources} {relu} {loss}")
    settings = {"inputs": {"x": (1, 2), "label": (1, 3)}}
    (row,) = convert_tree(tmp_path / "in", tmp_path / "out", jobs=1, reading=settings).rows
    assert (row.status, list(row.outputs)) == ("converted", ["c"])
    assert any("although Caffe would reject it" in text for text in row.warnings)
    (row,) = convert_tree(tmp_path / "in", tmp_path / "out", ".pth", jobs=1, reading=settings).rows
    assert row.status == "refused", "a state dict has all layers"
