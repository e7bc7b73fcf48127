"""What a data layer does to its images before the net sees them: `transform_param` (caffe/data_transformer.cpp).

Caffe reads images as blue, green, red. It resizes and crops them (in TEST the centre), subtracts the mean, and multiplies the
difference by the scale. Whoever feeds the net without that layer must do the same. Fields of the same names in `data_param` and
`image_data_param` belong to Caffe's first dialects: upgrading moves them, and today's Caffe ignores them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..prototxt.format import number
from ..prototxt.message import Message

# The fields that `Transform` holds; happynear's `center_crop` is how every Caffe crops in TEST.
_COMPUTED = "scale mean_value mean_file crop_size crop_h crop_w resize_param mirror center_crop"
# Fields that say how an image is decoded, resized or varied at random, which is all done before its values are computed.
_EARLIER = """
    force_color force_gray noise_param emit_constraint distort_param expand_param display num_labels use_gpu_transform random_seed
    vertical_stretch_lower vertical_stretch_upper horizontal_stretch_lower horizontal_stretch_upper allow_upscale
    interpolation_algo_down interpolation_algo_up img_rand_resize_lower img_rand_resize_upper rand_resize_ratio_lower
    rand_resize_ratio_upper random_resize_param random_aspect_ratio_param erase_ratio scale_min scale_max aspect_min aspect_max
    max_smooth max_color_shift min_side_min min_side_max min_side apply_probability debug_params
"""


@dataclass(frozen=True)
class Transform:
    """The preprocessing of one data layer.

    Attributes:
        layer: the layer's name.
        means: `mean_value`: none, one for all channels, or one per channel.
        mean_file: the file of a mean image, "" if there is none.
        scale: factor for the difference.
        resized, cropped: sizes (height, width) that an image is brought to, None where the file does not say so.
        mirror: images are mirrored at random.
        others: further fields of `transform_param` that change the values, which nothing here computes.
    """

    layer: str
    means: tuple[float, ...] = ()
    mean_file: str = ""
    scale: float = 1.0
    resized: tuple[int, int] | None = None
    cropped: tuple[int, int] | None = None
    mirror: bool = False
    others: tuple[str, ...] = ()

    @classmethod
    def of(cls, message: Message) -> Transform | None:
        """Return the transform of a data layer, None if the layer does not mention one.

        >>> layer = Message.of("LayerParameter", name="data", type="Data", transform_param={"scale": 0.5, "crop_size": 227})
        >>> print(Transform.of(layer))
        data layer 'data' crops the images to 227x227, then multiplies by 0.5
        """
        param, window = message.transform_param, message.window_data_param
        crop = int(param.crop_size)
        cropped = (crop, crop) if crop else (int(param.crop_h), int(param.crop_w))
        result = cls(
            message.get("name", ""),
            means=tuple(map(float, param.mean_value)),
            mean_file=str(param.mean_file),
            scale=float((window if "scale" in window else param).scale),  # see caffe/layers/window_data_layer.cpp
            resized=_resized(message),
            cropped=cropped if all(cropped) else None,
            mirror=bool(param.mirror),
            others=tuple(_others(param)),
        )
        return None if result == cls(result.layer) else result

    @property
    def changes_values(self) -> bool:
        """Whether the net sees other values than the images' pixels."""
        return bool(any(self.means) or self.mean_file or self.scale != 1 or self.others)

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the images that the net sees, None where they depend on the data."""
        return self.cropped or self.resized

    @property
    def steps(self) -> list[str]:
        """What the layer does, in order, each as a verb with its object."""
        steps = []
        if self.resized:
            steps.append("resizes the images to {}x{}".format(*self.resized))
        if self.cropped:
            steps.append("crops {} to {}x{}".format("them" if steps else "the images", *self.cropped))
        if self.mirror:
            steps.append("mirrors {} at random".format("them" if steps else "the images"))
        if self.mean_file:
            steps.append(f"subtracts the mean image {self.mean_file!r}")
        if any(self.means):
            order = " (B,G,R)" if len(self.means) == 3 else ""
            steps.append(f"subtracts the mean {','.join(map(number, self.means))}{order}")
        if self.scale != 1:
            steps.append(f"multiplies by {number(self.scale)}")
        return steps + [f"uses {name}" for name in self.others]

    def __str__(self) -> str:
        steps = self.steps
        return f"data layer {self.layer!r} " + ", then ".join(filter(None, (", ".join(steps[:-1]), *steps[-1:])))


def _resized(message: Message) -> tuple[int, int] | None:
    """The size that images are resized to, before any crop."""
    sizes = {
        (int(resize.height), int(resize.width))
        for resize in message.transform_param.resize_param
        if resize.resize_mode != "FIT_SMALL_SIZE"  # of which the longer side depends on the image
    }
    name = "dense_image_data_param" if message.type == "DenseImageData" else "image_data_param"
    param = getattr(message, name)
    if not message.transform_param.resize_param and name in message:
        sizes = {(int(param.new_height), int(param.new_width))}
    return next(iter(sizes)) if len(sizes) == 1 and all(next(iter(sizes))) else None


def _others(param: Message) -> Iterable[str]:
    """The set fields of `transform_param` that are neither computed nor only about decoding and random changes."""
    handled = {*_COMPUTED.split(), *_EARLIER.split()}
    for name, value in param.fields():
        field = param.descriptor.fields.get(name) if param.descriptor is not None else None
        if name in handled or (field is not None and value == field.default):
            continue
        yield f"transform_param.{name}"
