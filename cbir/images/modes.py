"""Every kind of picture that Pillow opens → RGB uint8. One rule each:

- grey of 16 bits (I;16 in any byte order): scaled, value / 257, not clipped
- I (32-bit integer): 0..65535 as 16 bits; where values lie outside, stretched from least to largest
- F (float): values within 0..1 times 255; within 0..255 as they are; else stretched; what is not
  finite counts as the least finite value
- transparency (LA, PA, RGBA, La, RGBa, a transparent colour): laid onto white
- CMYK, YCCK: by the embedded profile, else Pillow's inversion; LAB, HSV, YCbCr: Pillow's
- an embedded ICC profile: converted to sRGB; one that cannot be read is ignored
- 1-bit, grey, palette: plain conversion
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from cbir.types import Pixels

_ALPHA = {"LA", "PA", "RGBA", "La", "RGBa"}
_SRGB: list[Any] = []


def to_rgb(image: Image.Image) -> Pixels:
    """RGB uint8 (h, w, 3), C order, by the rules above. The picture itself stays as it is."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        grey = _grey(np.asarray(image), image.mode)
        return np.ascontiguousarray(np.repeat(grey[:, :, None], 3, axis=2))
    if image.mode in _ALPHA or "transparency" in image.info:
        return _onto_white(image)
    image = _to_srgb(image)
    return np.ascontiguousarray(np.asarray(image if image.mode == "RGB" else image.convert("RGB")))


def _grey(values: Any, mode: str) -> Any:
    """A plane of wide grey values as uint8."""
    if mode == "F":
        return _float_grey(np.asarray(values, np.float64))
    wide = np.asarray(values, np.int64)
    low, high = int(wide.min()), int(wide.max())
    if low >= 0 and high <= 65535:
        return ((wide + 128) // 257).astype(np.uint8)
    return _stretched(wide.astype(np.float64), low, high)


def _float_grey(values: Any) -> Any:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.zeros(values.shape, np.uint8)
    low, high = float(finite.min()), float(finite.max())
    filled = np.where(np.isfinite(values), values, low)
    if low >= 0 and high <= 1:
        return np.rint(filled * 255).astype(np.uint8)
    if low >= 0 and high <= 255:
        return np.rint(filled).astype(np.uint8)
    return _stretched(filled, low, high)


def _stretched(values: Any, low: float, high: float) -> Any:
    if high == low:
        return np.full(values.shape, 127, np.uint8)
    return np.rint((values - low) / (high - low) * 255).astype(np.uint8)


def _onto_white(image: Image.Image) -> Pixels:
    """Lay a picture with transparency onto white."""
    profile = image.info.get("icc_profile")
    if image.mode == "La":  # Pillow has no direct way from there to RGBA
        image = image.convert("LA")
    layered = image if image.mode == "RGBA" else image.convert("RGBA")
    alpha = layered.getchannel("A")
    colours = layered.convert("RGB")
    if profile and image.mode in ("RGBA", "RGB", "P"):
        colours.info["icc_profile"] = profile
        colours = _to_srgb(colours)
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(colours, mask=alpha)
    return np.ascontiguousarray(np.asarray(white))


def _to_srgb(image: Image.Image) -> Image.Image:
    """Convert by the embedded profile, where there is one that fits."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "L", "CMYK", "LAB"):
        return image
    if not _SRGB:
        _SRGB.append(ImageCms.createProfile("sRGB"))
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, _SRGB[0], outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    return image if converted is None else converted
