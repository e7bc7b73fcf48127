"""Nets with large blobs or weights, for benchmarks: U-Net and SSD-512, of their papers' form."""

from __future__ import annotations

from protogen import Net, NetBuilder


def unet(batch: int = 1, size: int = 480, width: int = 64, classes: int = 2) -> Net:
    """U-Net (arXiv:1505.04597) with padded convolutions, so that both halves have the same sizes; no layer works in place."""
    b = NetBuilder("U-Net")
    x = b.input("data", (batch, 3, size, size))
    skips = []
    for stage in range(5):
        x = _pair(b, x, width << stage)
        if stage < 4:
            skips.append(x)
            x = b.pool(x, "MAX", 2, stride=2)
    for skip in reversed(skips):
        channels = b.channels(skip)
        x = b.deconv(x, channels, 2, stride=2)
        x = _pair(b, b.concat(skip, x), channels)
    b.conv(x, classes, 1, name="score")
    return b.build()


def _pair(b: NetBuilder, x: str, channels: int) -> str:
    for _ in range(2):
        x = b.relu(b.conv(x, channels, 3, pad=1), in_place=False)
    return x


def ssd512(batch: int = 1, classes: int = 21) -> Net:
    """SSD-512 on VGG-16 (arXiv:1512.02325), with detections at the end; without the normalization of conv4_3."""
    b = NetBuilder("SSD-512")
    x = b.input("data", (batch, 3, 512, 512))
    heads = []
    for stage, (layers, channels) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1):
        for _ in range(layers):
            x = b.relu(b.conv(x, channels, 3, pad=1))
        heads += [x] if stage == 4 else []
        x = b.pool(x, "MAX", 2, stride=2) if stage < 5 else b.pool(x, "MAX", 3, stride=1, pad=1)
    x = b.relu(b.conv(x, 1024, 3, pad=6, dilation=6, name="fc6"))
    x = b.relu(b.conv(x, 1024, 1, name="fc7"))
    heads.append(x)
    for inner, outer, kernel, stride in ((256, 512, 3, 2), *[(128, 256, 3, 2)] * 3, (128, 256, 4, 1)):
        x = b.relu(b.conv(x, inner, 1))
        x = b.relu(b.conv(x, outer, kernel, stride=stride, pad=1))
        heads.append(x)
    _detections(b, heads, classes)
    return b.build()


def _detections(b: NetBuilder, heads: list[str], classes: int) -> None:
    """Boxes, scores and prior boxes of each head, joined and decoded."""
    flat: tuple[list[str], list[str], list[str]] = [], [], []
    sizes = (36, 77, 154, 230, 307, 384, 461, 538)
    for head, low, high in zip(heads, sizes, sizes[1:]):
        for blobs, channels in zip(flat, (6 * 4, 6 * classes)):
            x = b.conv(head, channels, 3, pad=1)
            blobs.append(b.flatten(b.layer("Permute", x, order=[0, 2, 3, 1]), axis=1))
        prior = {"min_size": [low], "max_size": [high], "aspect_ratio": [2, 3], "variance": [0.1, 0.1, 0.2, 0.2]}
        flat[2].append(b.layer("PriorBox", head, "data", **prior))
    locations, confidences = b.concat(*flat[0]), b.concat(*flat[1])
    priors = b.layer("Concat", *flat[2], axis=2)
    scores = b.layer("Reshape", confidences, shape={"dim": [0, -1, classes]})
    scores = b.flatten(b.softmax(scores, axis=2), axis=1)
    suppression = {"nms_threshold": 0.45, "top_k": 400}
    fields = {"num_classes": classes, "code_type": "CENTER_SIZE", "keep_top_k": 200, "confidence_threshold": 0.01}
    b.layer("DetectionOutput", locations, scores, priors, nms_param=suppression, **fields)
