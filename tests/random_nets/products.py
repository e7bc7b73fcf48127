"""Offers of convolutions and other products."""

from __future__ import annotations

from tests.random_nets.growing import Blob, Grower, images, offer, small, source, up_to


@offer(lambda x: images(x) and small(x))
def convolution(g: Grower, x: Blob) -> None:
    high, wide = (min(size, g.pick((1, 2, 3))) for size in x.shape[2:])
    group = g.pick([n for n in (1, 2, 3, x.shape[1]) if x.shape[1] % n == 0])
    kernel = {"kernel_size": high} if high == wide else {"kernel_h": high, "kernel_w": wide}
    fields = {"stride": g.pick((None, 2)), "pad": g.pick((None, 1)), "bias_term": g.pick((None, False)), "group": group}
    dilation = 2 if min(x.shape[2:]) >= 5 and g.flag() else None
    g.learn("Convolution", x, num_output=group * g.pick((1, 2)), dilation=dilation, **kernel, **fields)


@offer(lambda x: x.ndim in (3, 5) and small(x) and x.size > 0, fresh=(2, 2, 4, 5, 3))
def convolution_nd(g: Grower, x: Blob) -> None:
    kernel = [min(2, size) for size in x.shape[2:]]
    g.learn("Convolution", x, num_output=g.pick((2, 3)), kernel_size=kernel, pad=g.pick((None, 1)), stride=g.pick((None, 2)))


@offer(lambda x: images(x) and small(x) and min(x.shape[2:]) >= 2)
def convolution_of_two(g: Grower, x: Blob) -> None:
    """One Convolution over two bottoms of a shape."""
    other = g.pick([blob for blob in g.blobs.values() if blob.shape == x.shape and blob.whole][-3:])
    g.learn("Convolution", x, [other], num_output=3, kernel_size=2)


@offer(lambda x: images(x) and small(x))
def depthwise(g: Grower, x: Blob) -> None:
    type, c = g.pick(("DepthwiseConvolution", "ConvolutionDepthwise", "ConvDepthwise")), x.shape[1]
    g.learn(
        type, x, num_output=c, group=c if type == "DepthwiseConvolution" else None, kernel_size=3, pad=1, stride=g.pick((None, 2))
    )


@offer(lambda x: images(x) and small(x) and x.shape[1] <= 12)
def deconvolution(g: Grower, x: Blob) -> None:
    group = g.pick([n for n in (1, 2) if x.shape[1] % n == 0])
    g.learn(
        "Deconvolution",
        x,
        num_output=2 * group,
        group=group,
        kernel_size=g.pick((2, 3)),
        stride=g.pick((None, 2)),
        pad=g.pick((None, 0)),
    )


@offer(lambda x: x.ndim >= 2 and small(x) and x.size > 0)
def inner_product(g: Grower, x: Blob) -> None:
    g.learn("InnerProduct", x, num_output=g.pick((3, 1, 6)), axis=g.pick((None, x.ndim - 1)), transpose=g.pick((None, True)))


@source
def embed(g: Grower) -> None:
    index = g.input(g.pick(((3,), (2, 3))), up_to(5), hidden=True)
    g.add("Embed", index, input_dim=5, num_output=g.pick((2, 4)), bias_term=g.pick((None, False)))


@offer(lambda x: x.ndim >= 3 and x.shape[0] <= 6 and small(x) and x.size > 0, fresh=(4, 2, 3))
def recurrent(g: Grower, x: Blob) -> None:
    bottoms = [x, g.input(x.shape[:2], up_to(2), hidden=True)]
    if g.flag():
        bottoms.append(g.input((x.shape[1], 3)))
    g.add(g.pick(("LSTM", "RNN")), *bottoms, num_output=g.pick((2, 3)), facts={"tame": True})
