"""Offers of learned and given factors, and of normalization."""

from __future__ import annotations

from tests.random_nets.growing import Blob, Grower, images, offer


@offer(lambda x: x.ndim >= 2)
def scale_or_bias(g: Grower, x: Blob) -> None:
    type, axis = g.pick(("Scale", "Bias")), g.pick(range(x.ndim))
    fields = {
        "axis": axis,
        "num_axes": g.pick((1, -1)) if axis else 1,
        "bias_term": True if type == "Scale" and g.flag() else None,
    }
    g.elementwise(type, x, **fields)


@offer(lambda x: x.ndim >= 2)
def factor_given(g: Grower, x: Blob) -> None:
    """Scale or Bias by another blob: one whose shape is a run of the axes of `x`."""
    runs = {x.shape[a:b]: a for a in range(x.ndim) for b in range(a + 1, x.ndim + 1)}
    other = g.pick([blob for blob in g.blobs.values() if blob.shape in runs and blob.whole][-4:])
    g.add(g.pick(("Scale", "Bias")), x, other, axis=runs[other.shape])


@offer(lambda x: x.ndim >= 2)
def channel_factor(g: Grower, x: Blob) -> None:
    """Squeeze and excitation: a factor per item and channel, by Scale or Axpy."""
    squeezed = g.add("InnerProduct", x, num_output=x.shape[1])[0]
    gate = g.add("Sigmoid", squeezed)[0]
    if g.flag():
        g.add("Axpy", gate, x, x)
    else:
        g.add("Scale", x, gate, axis=0)


@offer(lambda x: x.ndim >= 2)
def batch_norm(g: Grower, x: Blob) -> None:
    g.elementwise("BatchNorm", x, eps=g.pick((None, 1e-3)), scale_bias=g.pick((None, None, True)))


@offer(lambda x: 2 <= x.ndim <= 4)
def bn(g: Grower, x: Blob) -> None:
    g.add("BN", x, **g.pick(({"momentum": 0.9}, {"bn_mode": "INFERENCE"})))


@offer(lambda x: images(x) and x.varied)
def batch_statistics(g: Grower, x: Blob) -> None:
    """Normalization by the batch's own statistics, also in TEST."""
    if g.flag():
        g.add("BN", x, bn_mode="LEARN")
    else:
        g.add("BatchNorm", x, use_global_stats=False, eps=0.01)


@offer(images)
def lrn(g: Grower, x: Blob) -> None:
    g.add("LRN", x, local_size=g.pick((3, 5)), alpha=g.pick((None, 0.1)), norm_region=g.pick((None, "WITHIN_CHANNEL")))


@offer(lambda x: images(x) and x.shape[2] * x.shape[3] > 3 and x.varied)
def mvn(g: Grower, x: Blob) -> None:
    g.add("MVN", x, across_channels=g.pick((None, True)), normalize_variance=g.pick((None, False)), eps=0.01)


@offer(images)
def normalize(g: Grower, x: Blob) -> None:
    fields = {"across_spatial": g.flag(), "channel_shared": g.flag(), "scale_filler": {"type": "constant", "value": 2}}
    g.add("Normalize", x, norm_param=fields)


@offer(lambda x: images(x) and x.positive)
def l2_normalization(g: Grower, x: Blob) -> None:
    """Away from 0, which has no direction."""
    shifted = g.add("Power", x, shift=0.5)[0]
    g.add("L2Normalization", shifted, facts={"tame": True, "positive": True})


@offer(lambda x: x.ndim >= 1)
def softmax(g: Grower, x: Blob) -> None:
    g.add("Softmax", x, axis=g.pick(range(-1, x.ndim)), facts={"tame": True, "positive": True})
