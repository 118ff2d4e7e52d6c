"""Random pictures for training: crop, flip, turn, colour, blur, erasing; each from its own seed.

The same seed gives the same picture, whatever came before: so a training that was interrupted goes
on as if it had not been.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from cbir.config import Settings
from cbir.errors import UsageError
from cbir.images.resize import FILTER
from cbir.types import Pixels


@dataclass(frozen=True, slots=True)
class Augmentation(Settings):
    """How far a picture may be changed in training; 0 switches a change off.

    crop      smallest share of the picture's area that a crop keeps, 0 to 1; 1: no crops
    ratio     how much longer one side of a crop may be than the other; 1: as the picture
    flip      probability of left and right exchanged; 0 where left and right mean something
    turn      largest turn, degrees; 0 where upright means something
    colour    largest change of brightness, contrast and saturation, as a share: .4 is .6 to 1.4;
              0 where colour is the label
    grey      probability of a picture without colour
    blur      probability of a Gaussian blur, radius .1 to 2 pixels of 224
    erasing   probability of a rectangle of noise over 2 to 20 % of the area

    Crops as Szegedy et al., Going Deeper with Convolutions (CVPR 2015), section 6; erasing: Zhong
    et al., Random Erasing Data Augmentation (AAAI 2020), algorithm 1; colour, grey and blur: Chen
    et
    al., SimCLR (ICML 2020), appendix A.
    """

    crop: float = 0.3
    ratio: float = 4 / 3
    flip: float = 0.5
    turn: float = 0.0
    colour: float = 0.0
    grey: float = 0.0
    blur: float = 0.0
    erasing: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flip", "grey", "blur", "erasing", "colour"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name}: expected 0 to 1; received {getattr(self, name)}.")
        if not 0 < self.crop <= 1:
            raise UsageError(f"crop: expected more than 0, up to 1; received {self.crop}.")
        if not 1 <= self.ratio <= 10:
            raise UsageError(f"ratio: expected 1 to 10; received {self.ratio}.")
        if not 0 <= self.turn <= 180:
            raise UsageError(f"turn: expected 0 to 180 degrees; received {self.turn}.")

    @property
    def changes(self) -> bool:
        """Whether anything is switched on."""
        return self.crop < 1 or any((self.flip, self.turn, self.colour, self.grey, self.blur,
                                     self.erasing))  # fmt: skip


NONE = Augmentation(crop=1.0, ratio=1.0, flip=0.0)


def augment(pixels: Pixels, size: int, how: Augmentation, rng: np.random.Generator) -> Pixels:
    """A random version of uint8 (h, w, 3): uint8 (size, size, 3), a new array."""
    image = Image.fromarray(pixels)
    box = _box(image.size, how, rng) if how.crop < 1 else None
    if how.turn:
        image = image.rotate(rng.uniform(-how.turn, how.turn), Image.Resampling.BILINEAR,
                             fillcolor=(127, 127, 127))  # fmt: skip
    image = image.resize((size, size), FILTER, box)
    if how.flip and rng.random() < how.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if how.colour:
        image = _coloured(image, how.colour, rng)
    if how.grey and rng.random() < how.grey:
        image = image.convert("L").convert("RGB")
    if how.blur and rng.random() < how.blur:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.1, 2.0) * size / 224))
    made = np.array(image, np.uint8, order="C")
    if how.erasing and rng.random() < how.erasing:
        _erase(made, rng)
    return made


def _box(
    size: tuple[int, int], how: Augmentation, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """A part of the picture: area and shape uniform, cut off where it is too long."""
    width, height = size
    share = rng.uniform(how.crop, 1.0)
    shape = math.exp(rng.uniform(-1, 1) * math.log(how.ratio))
    w, h = width * min(1.0, math.sqrt(share * shape)), height * min(1.0, math.sqrt(share / shape))
    left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
    return left, top, left + w, top + h


def _coloured(image: Image.Image, most: float, rng: np.random.Generator) -> Image.Image:
    """Brightness, contrast and saturation, each changed by up to `most`, in random order."""
    kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for i in rng.permutation(len(kinds)).tolist():
        image = kinds[i](image).enhance(rng.uniform(1 - most, 1 + most))
    return image


def _erase(pixels: Pixels, rng: np.random.Generator) -> None:
    """Noise over a rectangle, in place."""
    side = pixels.shape[0]
    area, shape = rng.uniform(0.02, 0.2), math.exp(rng.uniform(-1, 1) * math.log(1 / 0.3))
    h = min(side, max(1, round(side * math.sqrt(area * shape))))
    w = min(side, max(1, round(side * math.sqrt(area / shape))))
    top, left = int(rng.integers(0, side - h + 1)), int(rng.integers(0, side - w + 1))
    pixels[top : top + h, left : left + w] = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
