"""SSD's MultiBoxLoss as a plain loop over boxes, written from the description of the layer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

IMAGES, PRIORS, CLASSES = 3, 12, 4


def layer(
    parameters: str, images: int = IMAGES, classes: int = CLASSES, loc_classes: int = 1, rows: int = 7, more: str = ""
) -> str:
    return f"""
    layer {{ name: "in" type: "Input" top: "loc" top: "conf" top: "prior" top: "truth" input_param {{
      shape {{ dim: {images} dim: {PRIORS * 4 * loc_classes} }} shape {{ dim: {images} dim: {PRIORS * classes} }}
      shape {{ dim: 1 dim: 2 dim: {PRIORS * 4} }} shape {{ dim: 1 dim: 1 dim: {rows} dim: 8 }} }} }}
    layer {{ name: "op" type: "MultiBoxLoss" bottom: "loc" bottom: "conf" bottom: "prior" bottom: "truth" top: "loss"
      {more} multibox_loss_param {{ num_classes: {classes} {parameters} }} }}"""


def random_boxes(rng: np.random.Generator, n: int, spread: float = 0.0) -> np.ndarray:
    """Boxes around 4 places, so that many overlap; with `spread` some reach over the border."""
    middle = rng.choice([0.25, 0.75], (n, 2)) + rng.normal(0, 0.05 + spread, (n, 2))
    size = rng.uniform(0.2, 0.45, (n, 2))
    return np.concatenate([middle - size / 2, middle + size / 2], 1).astype(np.float32)


def case(seed: int, loc_classes: int = 1, classes: int = CLASSES, label: int | None = None) -> list[np.ndarray]:
    """loc, conf, prior, truth: image 1 has no box, one box is difficult, rows after the end mark are rubbish."""
    rng = np.random.default_rng(seed)
    loc = rng.normal(0, 0.5, (IMAGES, PRIORS * 4 * loc_classes)).astype(np.float32)
    conf = rng.normal(0, 2, (IMAGES, PRIORS * classes)).astype(np.float32)
    variance = np.tile(np.float32([0.1, 0.1, 0.2, 0.2]), PRIORS)
    prior = np.stack([random_boxes(rng, PRIORS, 0.1).ravel(), variance])[None]
    truth = np.zeros((1, 1, 7, 8), np.float32)
    truth[0, 0, :, 0] = [0, 0, 0, 2, 2, -1, 1]
    truth[0, 0, :, 1] = rng.integers(1, classes, 7) if label is None else label
    truth[0, 0, :, 3:7] = random_boxes(rng, 7)
    truth[0, 0, 1, 7] = 1
    return [loc, conf, prior, truth]


def area(b):
    return max(b[2] - b[0], 0) * max(b[3] - b[1], 0) if b[2] >= b[0] and b[3] >= b[1] else 0


def iou(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return w * h / (area(a) + area(b) - w * h) if w > 0 and h > 0 else 0.0


def to_code(box, prior, var, code):
    pw, ph = prior[2] - prior[0], prior[3] - prior[1]
    if code == "CORNER":
        out = [box[k] - prior[k] for k in range(4)]
    elif code == "CORNER_SIZE":
        out = [(box[k] - prior[k]) / (pw, ph)[k % 2] for k in range(4)]
    else:
        out = [
            ((box[0] + box[2]) / 2 - (prior[0] + prior[2]) / 2) / pw,
            ((box[1] + box[3]) / 2 - (prior[1] + prior[3]) / 2) / ph,
            math.log((box[2] - box[0]) / pw),
            math.log((box[3] - box[1]) / ph),
        ]
    return [v / s for v, s in zip(out, var)]


def from_code(p, prior, var, code):
    p = [v * s for v, s in zip(p, var)]
    pw, ph = prior[2] - prior[0], prior[3] - prior[1]
    if code == "CORNER":
        return [prior[k] + p[k] for k in range(4)]
    if code == "CORNER_SIZE":
        return [prior[k] + p[k] * (pw, ph)[k % 2] for k in range(4)]
    cx, cy = p[0] * pw + (prior[0] + prior[2]) / 2, p[1] * ph + (prior[1] + prior[3]) / 2
    w, h = math.exp(p[2]) * pw, math.exp(p[3]) * ph
    return [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]


def plain_match(boxes, gts, threshold, per_prediction, inside_only):
    """Index of the ground truth for each box (-1 none, -2 ignored), and its largest overlap."""
    found, best = [-1] * len(boxes), [0.0] * len(boxes)
    table = {}
    for i, b in enumerate(boxes):
        if inside_only and (min(b) < 0 or max(b) > 1):
            found[i] = -2
            continue
        for j, g in enumerate(gts):
            o = iou(b, g)
            if o > 1e-6:
                table[i, j] = o
                best[i] = max(best[i], o)
    free = set(range(len(gts)))
    while True:
        pairs = [(o, -i, -j) for (i, j), o in table.items() if found[i] == -1 and j in free]
        if not pairs:
            break
        _, i, j = max(pairs)
        found[-i] = -j
        free.remove(-j)
    if per_prediction:
        for i in range(len(boxes)):
            options = [(table[i, j], -j) for j in range(len(gts)) if (i, j) in table and table[i, j] >= threshold]
            if found[i] == -1 and options:
                found[i] = -max(options)[1]
    return found, best


def cross_entropy(x, t):
    return max(x, 0) - x * t + math.log1p(math.exp(-abs(x)))


def log_softmax(x):
    m = max(x)
    s = sum(math.exp(v - m) for v in x)
    return [v - m - math.log(s) for v in x]


@dataclass(frozen=True)
class Settings:
    """The layer's parameters, by short names."""

    classes: int = CLASSES
    share: bool = True
    code: str = "CORNER"
    loc_loss: str = "SMOOTH_L1"
    conf_loss: str = "SOFTMAX"
    per_prediction: bool = True
    threshold: float = 0.5
    use_prior: bool = True
    difficult: bool = True
    mining: str = "MAX_NEGATIVE"
    ratio: float = 3.0
    neg_overlap: float = 0.5
    in_target: bool = False
    inside_only: bool = False
    bp_inside: bool = False
    sample: int = 64
    agnostic: bool = False
    nms: tuple[float, int] | None = None
    nms_prior: bool = False
    weight: float = 1.0
    normalization: str = "VALID"
    background: int = 0


class Image:
    """One image: its priors, what is predicted for them, and its objects, pairs of label and box."""

    def __init__(self, s: Settings, prior, loc, conf, objects) -> None:
        self.s, self.loc, self.conf, self.objects = s, loc, conf, objects
        self.boxes, self.variances = prior
        self.scale = [[1.0] * 4] * PRIORS if s.in_target else self.variances
        self.shapes = [shape for _, shape in objects]
        self.decoded = [[from_code(of[p], self.boxes[p], self.scale[p], s.code) for p in range(PRIORS)] for of in loc]
        self.maps = {c: self.matches(c) for c in range(len(loc)) if objects and (s.share or c != s.background)}
        self.negatives = self.mined() if s.mining != "NONE" and objects else []

    def matches(self, c):
        """For each box the object it is to find by the predictions of class `c`, and its largest overlap."""
        s, rules = self.s, (self.s.threshold, self.s.per_prediction, self.s.inside_only)
        wanted = [k for k, (label, _) in enumerate(self.objects) if s.share or label == c]
        if s.use_prior:
            found, best = plain_match(self.boxes, self.shapes, *rules)
            return found if s.share else [f if f in wanted else -1 for f in found], best
        found, best = plain_match(self.decoded[c], [self.shapes[k] for k in wanted], *rules)
        return [wanted[f] if f >= 0 else f for f in found], best

    def difference(self, c, p, k):
        """Loss of the place that is predicted for box `p` as object `k`."""
        s, goal = self.s, to_code(self.shapes[k], self.boxes[p], self.scale[p], self.s.code)
        d = [self.loc[c][p][n] - goal[n] for n in range(4)]
        if s.in_target:
            d = [v / w for v, w in zip(d, self.variances[p])]
        if s.bp_inside:
            at = self.boxes[p] if s.use_prior else self.decoded[c][p]
            d = [0.0 if at[n] < 0 or at[n] > 1 else d[n] for n in range(4)]
        return sum(v * v / 2 if abs(v) < 1 or s.loc_loss == "L2" else abs(v) - 0.5 for v in d)

    def classify(self, p, label):
        """Loss of the class that is predicted for box `p`."""
        if self.s.conf_loss == "SOFTMAX":
            return -log_softmax(self.conf[p])[label]
        return sum(cross_entropy(x, float(k == label)) for k, x in enumerate(self.conf[p]))

    def mined(self):
        """Boxes that count as background; hard examples take objects from the boxes they leave out."""
        s, (found, best) = self.s, self.maps[0]
        loss = [self.classify(p, self.objects[found[p]][0] if found[p] >= 0 else s.background) for p in range(PRIORS)]
        if s.mining == "HARD_EXAMPLE":
            loss = [v + (self.difference(0, p, found[p]) if found[p] >= 0 else 0) for p, v in enumerate(loss)]
            pool, number = list(range(PRIORS)), s.sample
        else:
            pool = [p for p in range(PRIORS) if found[p] == -1 and best[p] < s.neg_overlap]
            number = int(sum(f >= 0 for f in found) * s.ratio)
        pool.sort(key=lambda p: -loss[p])
        picked = (pool if s.nms is None else self.apart(pool))[:number]
        if s.mining == "HARD_EXAMPLE":
            self.maps[0] = ([-1 if f >= 0 and p not in picked else f for p, f in enumerate(found)], best)
        return [p for p in sorted(picked) if found[p] == -1]

    def apart(self, pool):
        """Those of the hardest boxes that overlap none before them by more than the threshold."""
        threshold, most = self.s.nms
        kept, place = [], self.boxes if self.s.nms_prior else self.decoded[0]
        for p in pool[:most]:
            if area(place[p]) >= 1e-5 and all(iou(place[p], place[q]) <= threshold for q in kept):
                kept.append(p)
        return kept

    def losses(self):
        """Loss of the places, loss of the classes, and how many boxes found an object."""
        s, pairs = self.s, [(c, p, k) for c, (found, _) in sorted(self.maps.items()) for p, k in enumerate(found) if k >= 0]
        labels = {p: s.background + 1 if s.agnostic else self.objects[k][0] for _, p, k in pairs}
        if s.mining == "NONE":
            assert s.conf_loss == "SOFTMAX"
            classes = sum(self.classify(p, labels.get(p, s.background)) for p in range(PRIORS))
        else:
            classes = sum(self.classify(p, label) for p, label in labels.items())
            classes += sum(self.classify(p, s.background) for p in self.negatives)
        return sum(self.difference(*pair) for pair in pairs), classes, len(pairs)


def plain_loss(loc, conf, prior, truth, **settings):
    """The loss, and how many boxes found an object."""
    s = Settings(**settings)
    objects = {}
    for row in truth.reshape(-1, 8).astype(float):
        if row[0] == -1:
            break
        if s.difficult or not row[7]:
            objects.setdefault(int(row[0]), []).append((int(row[1]), row[3:7].tolist()))
    places = loc.reshape(IMAGES, PRIORS, 1 if s.share else s.classes, 4).astype(float).transpose(0, 2, 1, 3)
    scores = conf.reshape(IMAGES, PRIORS, s.classes).astype(float)
    priors = prior.reshape(2, PRIORS, 4).astype(float).tolist()
    sums = [Image(s, priors, places[i], scores[i], objects.get(i, [])).losses() for i in range(IMAGES)]
    place, classes, matched = (sum(values) for values in zip(*sums))
    divisor = {"VALID": matched, "FULL": IMAGES * PRIORS, "BATCH_SIZE": IMAGES, "NONE": 1}[s.normalization]
    return (s.weight * place + classes) / max(divisor, 1), matched
