"""Convert PeleeNet to ONNX, and compare every blob of PyTorch and ONNX Runtime."""

import sys
from pathlib import Path

import protogen

path = Path(sys.argv[1] if len(sys.argv) > 1 else "peleenet.onnx")
net = protogen.models.peleenet(size=64, classes=10)
net.to_onnx(path, opset=17, dynamic_batch=True)
print(f"{path}: {path.stat().st_size:,} bytes, {net.summary().totals}")

report = protogen.verify(net)
print(report.verdict)
sys.exit(0 if report.ok else 1)
