"""Offers of elementwise layers."""

from __future__ import annotations

from tests.random_nets.growing import Blob, Grower, offer


@offer(rows=True)
def relu(g: Grower, x: Blob) -> None:
    slope = g.pick((None, 0.1))
    g.elementwise("ReLU", x, {"positive": slope is None, "tame": x.tame}, negative_slope=slope)


@offer(rows=True)
def relu6(g: Grower, x: Blob) -> None:
    g.elementwise("ReLU6", x, {"positive": True, "tame": x.tame})


@offer(rows=True)
def sigmoid(g: Grower, x: Blob) -> None:
    g.elementwise("Sigmoid", x, {"positive": True, "tame": True})


@offer(rows=True)
def tanh(g: Grower, x: Blob) -> None:
    g.elementwise("TanH", x, {"tame": True})


@offer(rows=True)
def smooth(g: Grower, x: Blob) -> None:
    g.elementwise(g.pick(("ELU", "SELU", "SeLu", "BNLL", "SeLuDropout")), x)


@offer(rows=True)
def swish(g: Grower, x: Blob) -> None:
    g.elementwise("Swish", x, beta=g.pick((None, 0.5)))


@offer(rows=True)
def absval(g: Grower, x: Blob) -> None:
    g.add("AbsVal", x, facts={"positive": True, "tame": x.tame})


@offer(rows=True)
def clip(g: Grower, x: Blob) -> None:
    low = g.pick((-1, 0))
    g.elementwise("Clip", x, {"tame": True, "positive": low == 0}, min=low, max=1.5)


@offer(rows=True)
def dropout(g: Grower, x: Blob) -> None:
    g.elementwise("Dropout", x, dropout_ratio=g.pick((None, 0.3)), scale_train=g.pick((None, False)))


@offer(rows=True)
def power(g: Grower, x: Blob) -> None:
    scale = g.pick((None, -0.5, 0))
    g.elementwise("Power", x, {"varied": x.varied and scale != 0}, scale=scale, shift=g.pick((None, 0.25)))


@offer(lambda x: x.tame, rows=True)
def square(g: Grower, x: Blob) -> None:
    g.elementwise("Power", x, {"positive": True}, power=2, shift=g.pick((None, 0.5)))


@offer(lambda x: x.positive, rows=True)
def root(g: Grower, x: Blob) -> None:
    g.elementwise("Power", x, {"positive": True, "tame": x.tame}, power=0.5, shift=0.5)


@offer(lambda x: x.tame, rows=True)
def exp(g: Grower, x: Blob) -> None:
    g.elementwise("Exp", x, {"positive": True}, base=g.pick((None, 2)), scale=g.pick((None, -0.5)), shift=g.pick((None, 0.5)))


@offer(lambda x: x.positive, rows=True)
def log(g: Grower, x: Blob) -> None:
    g.elementwise("Log", x, base=g.pick((None, 10)), scale=g.pick((None, 0.5)), shift=1)


@offer(lambda x: x.exact, rows=True)
def threshold(g: Grower, x: Blob) -> None:
    g.elementwise("Threshold", x, {"exact": True, "tame": True, "positive": True}, threshold=0.25)


@offer(lambda x: x.ndim >= 2)
def prelu(g: Grower, x: Blob) -> None:
    g.elementwise("PReLU", x, channel_shared=g.pick((None, True)))
