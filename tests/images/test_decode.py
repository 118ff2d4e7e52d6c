"""Every rule of decoding, with the pixels that are expected."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cbir.errors import ImageError, UsageError
from cbir.images import DecodeOptions, content_hash, decode, from_array, from_pil, resize
from cbir.images.decode import decode_image
from tests.broken import (
    encoded,
    exchanged_profile,
    gif_with_frame,
    oriented,
    photo,
    png,
    write_broken,
    write_odd,
)  # fmt: skip

RGB = np.asarray(photo())


def close(found: np.ndarray, wanted: np.ndarray, mean: float = 3.0) -> bool:
    difference = np.abs(found.astype(int) - wanted.astype(int))
    return found.shape == wanted.shape and float(difference.mean()) <= mean


TURNS = {
    1: RGB,
    2: RGB[:, ::-1],
    3: RGB[::-1, ::-1],
    4: RGB[::-1],
    5: RGB.transpose(1, 0, 2),
    6: np.rot90(RGB, -1),
    7: RGB[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(RGB),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_orientation(orientation: int, kind: str) -> None:
    found = decode(oriented(orientation, kind))
    wanted = TURNS[orientation]
    assert close(found.pixels, wanted, 6)
    assert (found.height, found.width) == wanted.shape[:2]
    assert found.pixels.flags.c_contiguous and found.pixels.dtype == np.uint8


@pytest.mark.parametrize("side", [None, 5])
def test_as_a_pillow_image_it_is_the_same_picture(side: int | None, tmp_path: Path) -> None:
    """Every orientation, every odd mode, and what cannot be read."""
    names = [*write_odd(tmp_path), *write_broken(tmp_path)]
    sources: list[str | bytes] = [str(tmp_path / name) for name in names]
    sources += [oriented(n, kind) for n in range(1, 9) for kind in ("PNG", "JPEG", "TIFF")]
    sources.append(encoded(photo((400, 300)), "JPEG"))
    read = 0
    for source in sources:
        try:
            wanted = decode(source, DecodeOptions(side))
        except ImageError as error:
            with pytest.raises(ImageError) as raised:
                decode_image(source, DecodeOptions(side))
            assert raised.value.reason == error.reason
            continue
        found = decode_image(source, DecodeOptions(side))
        assert found.image.mode == "RGB"
        assert np.array_equal(np.asarray(found.image), wanted.pixels), source
        assert (found.width, found.height, found.format) == (
            wanted.width, wanted.height, wanted.format)  # fmt: skip
        read += 1
    assert read > 30


@pytest.mark.parametrize("orientation", [0, 9, 77, 65535])
def test_an_invalid_orientation_is_ignored(orientation: int) -> None:
    assert close(decode(oriented(orientation)).pixels, RGB, 6)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_heic_and_avif_are_turned_once(orientation: int, kind: str) -> None:
    """Their files say it in a box of their own, and in EXIF too."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo(), kind, exif=exif.tobytes(), quality=95)
    assert (b"irot" in data or b"imir" in data) is (orientation > 1)
    found, wanted = decode(data), TURNS[orientation]
    assert close(found.pixels, wanted, 6)
    assert (found.height, found.width) == wanted.shape[:2]
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(from_pil(image).pixels, found.pixels)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_wide_grey_is_turned_too(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(np.arange(6, dtype=np.uint16).reshape(2, 3) * 257)
    found = decode(encoded(image, kind, exif=exif)).pixels
    assert found[:, :, 0].tolist() == [[3, 0], [4, 1], [5, 2]]


def test_exif_that_cannot_be_read_is_ignored() -> None:
    data = encoded(photo(), "JPEG", exif=b"Exif\0\0II*\0garbage garbage")
    assert close(decode(data).pixels, RGB, 6)


@pytest.mark.parametrize(
    ("values", "dtype", "wanted"),
    [
        ([[0, 257, 32896, 65535]], np.uint16, [0, 1, 128, 255]),
        ([[0, 65535, 514, 128]], np.int32, [0, 255, 2, 0]),
        ([[-100, 0, 100, 300]], np.int32, [0, 64, 128, 255]),
        ([[0, 0.5, 1.0, 0.25]], np.float32, [0, 128, 255, 64]),
        ([[0, 10, 200, 255]], np.float32, [0, 10, 200, 255]),
        ([[-1, 0, 1, 3]], np.float32, [0, 64, 128, 255]),
        ([[float("nan"), 0, 1, float("inf")]], np.float32, [0, 0, 255, 0]),
        ([[5000, 5000, 5000, 5000]], np.float32, [127] * 4),
    ],
)
def test_wide_grey_is_scaled_not_clipped(values: list, dtype: type, wanted: list[int]) -> None:
    data = encoded(Image.fromarray(np.array(values, dtype)), "TIFF")
    found = decode(data).pixels
    assert found[0].tolist() == [[v] * 3 for v in wanted]


def test_sixteen_bit_png_and_both_byte_orders() -> None:
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    assert decode(encoded(Image.fromarray(values), "PNG")).pixels[0, :, 0].tolist() == [
        0, 1, 128, 255,
    ]  # fmt: skip
    big = Image.frombytes("I;16B", (4, 1), values.byteswap().tobytes())
    assert from_pil(big).pixels[0, :, 0].tolist() == [0, 1, 128, 255]


def test_transparency_goes_onto_white() -> None:
    red = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    red.putpixel((1, 0), (255, 0, 0, 0))
    half = Image.new("RGBA", (1, 1), (0, 0, 0, 128))
    assert decode(encoded(red, "PNG")).pixels.tolist() == [[[255, 0, 0], [255, 255, 255]]]
    assert decode(encoded(half, "PNG")).pixels[0, 0].tolist() == [127, 127, 127]
    grey = Image.new("LA", (1, 1), (0, 0))
    assert decode(encoded(grey, "PNG")).pixels[0, 0].tolist() == [255, 255, 255]
    for mode in ("La", "RGBa", "PA"):
        image = red.convert("LA").convert(mode) if mode == "La" else red.convert(mode)
        assert from_pil(image).pixels[0, 1].tolist() == [255, 255, 255]
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 255, 0, 255, 0])
    palette.putpixel((1, 0), 1)
    found = decode(encoded(palette, "PNG", transparency=1)).pixels
    assert found.tolist() == [[[0, 0, 255], [255, 255, 255]]]
    colour = Image.new("RGB", (2, 1), (9, 8, 7))
    colour.putpixel((1, 0), (1, 2, 3))
    found = decode(encoded(colour, "PNG", transparency=(9, 8, 7))).pixels
    assert found.tolist() == [[[255, 255, 255], [1, 2, 3]]]
    for mode, key in (("L", 5), ("1", 0)):
        image = Image.new(mode, (2, 1), 5 if mode == "L" else 0)
        assert decode(encoded(image, "PNG", transparency=key)).pixels[0, 0].tolist() == [255] * 3


def test_cmyk_and_other_colours() -> None:
    plain = Image.new("RGB", (32, 32), (200, 40, 60))
    for kind, mode, near in (("JPEG", "CMYK", 12), ("TIFF", "CMYK", 2), ("TIFF", "YCbCr", 3)):
        found = decode(encoded(plain.convert(mode), kind)).pixels
        assert close(found, np.asarray(plain), near), (kind, mode)
    lab = decode(encoded(photo(mode="LAB"), "TIFF")).pixels
    assert lab.shape == RGB.shape and lab.std() > 10
    assert decode(encoded(photo(mode="1"), "PNG")).pixels.max() == 255


def test_profiles_are_applied() -> None:
    """A profile with red and blue exchanged, made from sRGB's own."""
    from PIL import ImageCms

    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = exchanged_profile()
    flat = Image.new("RGB", (4, 4), (200, 40, 60))
    same = decode(encoded(flat, "PNG", icc_profile=srgb)).pixels
    other = decode(encoded(flat, "PNG", icc_profile=swapped)).pixels
    assert close(same, np.asarray(flat), 1)
    assert close(other, np.full((4, 4, 3), (60, 40, 200), np.uint8), 4)
    broken = decode(encoded(flat, "PNG", icc_profile=b"garbage" * 40)).pixels
    assert np.array_equal(broken, np.asarray(flat))
    large = decode(encoded(flat, "JPEG", quality=95, icc_profile=srgb + b"\0" * 3_000_000)).pixels
    assert close(large, np.asarray(flat), 2)
    clear = flat.convert("RGBA")
    found = decode(encoded(clear, "PNG", icc_profile=swapped)).pixels
    assert close(found, other, 1)


def test_the_first_picture_of_several_counts() -> None:
    frames = [photo().rotate(180), Image.new("RGB", (48, 36), "red")]
    for kind in ("GIF", "WEBP", "PNG", "TIFF", "MPO"):
        data = encoded(photo(), kind, save_all=True, append_images=frames)
        assert close(decode(data).pixels, RGB, 12), kind


@pytest.mark.parametrize("size", [(1, 1), (1, 20000), (20000, 1), (3, 7)])
def test_sizes(size: tuple[int, int]) -> None:
    found = decode(encoded(photo(size), "PNG"), DecodeOptions(224))
    assert (found.width, found.height) == size
    assert resize(found.pixels, 32).shape == (32, 32, 3)


@pytest.mark.parametrize("size", [(4000, 3000), (3000, 901), (1000, 1000), (895, 4000), (449, 448)])
def test_large_jpegs_are_decoded_smaller_but_at_least_twice_as_large(size: tuple[int, int]) -> None:
    data = encoded(photo(size), "JPEG", quality=92)
    found = decode(data, DecodeOptions(224))
    whole = decode(data)
    assert (found.width, found.height) == size == (whole.width, whole.height)
    height, width = found.pixels.shape[:2]
    assert min(height, width) >= min(448, *size)
    if min(size) >= 2 * 448:
        assert height * width <= size[0] * size[1] / 4 * 1.01
    assert close(resize(found.pixels, 224), resize(whole.pixels, 224), 1.0)


def test_other_large_pictures_shrink_before_they_are_converted() -> None:
    for kind, mode in (("PNG", "RGBA"), ("PNG", "RGB"), ("TIFF", "CMYK")):
        data = encoded(photo((2600, 2500), mode), kind)
        small, whole = decode(data, DecodeOptions(224)), decode(data)
        assert min(small.pixels.shape[:2]) >= 448 and max(small.pixels.shape[:2]) < 1400
        assert (small.width, small.height) == (2600, 2500)
        assert close(resize(small.pixels, 224), resize(whole.pixels, 224), 1.5)


def test_limits_come_from_the_header() -> None:
    with pytest.raises(ImageError, match="too large: 48 x 36 pixels in memory; at most 1,000"):
        decode(encoded(photo(), "PNG"), DecodeOptions(max_pixels=1000))
    big = encoded(photo((1600, 1200)), "JPEG")
    limit = DecodeOptions(224, max_pixels=600_000)
    assert decode(big, limit).pixels.shape == (600, 800, 3)
    progressive = encoded(photo((1600, 1200)), "JPEG", progressive=True)
    with pytest.raises(ImageError, match="1600 x 1200"):
        decode(progressive, limit)
    with pytest.raises(ImageError, match="too large"):
        decode(big, DecodeOptions(max_header_pixels=1000))


def test_broken_files_say_why(tmp_path: Path) -> None:
    names = write_broken(tmp_path)
    assert len(names) >= 100
    assert sum(os.path.getsize(tmp_path / name) for name in names) < 10_000_000
    for name in names:
        with pytest.raises(ImageError) as caught:
            decode(str(tmp_path / name), DecodeOptions(224))
            pytest.fail(f"{name} decodes")
        reason = caught.value.reason
        assert reason and "\n" not in reason and len(reason) < 260, name
    wanted = {
        "empty.jpg": "empty file", "page.jpg": "HTML", "drawing.png": "SVG", "document.jpg": "PDF",
        "movie.jpg": "video", "plain.jpg": "text", "cut 0.5.jpg": "truncated",
        "cut 0.5.png": "truncated", "bomb.jpg": "too large", "bomb.png": "too large",
        "bomb.ico": "an icon with a picture of 14000 x 14000", "bomb frame.gif": "60000 x 60000",
        "bomb scans.jpg": "3000 scans", "bomb real.png": "14000 x 14000 pixels in memory",
        "movie.gif": "video", "script.jpg": "PostScript", "cut 0.5.qoi": "truncated",
    }  # fmt: skip
    for name, word in wanted.items():
        with pytest.raises(ImageError, match=word):
            decode((tmp_path / name).read_bytes())
    with pytest.raises(ImageError, match="No such file"):
        decode(str(tmp_path / "none.jpg"))
    with pytest.raises(ImageError, match="cannot be read"):
        content_hash(str(tmp_path / "none.jpg"))


def test_odd_files_decode(tmp_path: Path) -> None:
    names = write_odd(tmp_path)
    assert len(names) >= 80
    for name in names:
        found = decode(str(tmp_path / name), DecodeOptions(224))
        assert found.pixels.ndim == 3 and found.pixels.shape[2] == 3, name
        assert found.format and found.width >= 1, name


# A process's own: `ru_maxrss` begins with that of the process that started it.
PEAK = """
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
"""
needs_proc = pytest.mark.skipif(
    not os.path.exists("/proc/self/status"), reason="the peak of memory is read from /proc"
)


@needs_proc
def test_broken_files_take_no_memory(tmp_path: Path) -> None:
    for folder, write in (("broken", write_broken), ("odd", write_odd)):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder)
    code = (
        PEAK
        + """
import os, sys
from cbir.errors import ImageError
from cbir.images import DecodeOptions, decode
for folder in sys.argv[1:]:
    for name in os.listdir(folder):
        try:
            decode(os.path.join(folder, name), DecodeOptions(224))
        except ImageError:
            pass
print(peak())
"""
    )
    peaks = []
    for folders in (["odd"], ["odd", "broken"]):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code, *(str(tmp_path / f) for f in folders)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stderr == ""
        peaks.append(float(done.stdout))
    assert peaks[1] - peaks[0] < 300, peaks


SOUND = {
    kind: encoded(photo(), kind)
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "HEIF", "ICO", "TGA",
                 "JPEG2000", "PCX", "SGI", "QOI", "DDS", "PPM")
} | {
    "scans": encoded(photo(), "JPEG", progressive=True),
    "profile": encoded(photo(), "JPEG", icc_profile=exchanged_profile()),
    "exif": oriented(6),
    "palette": encoded(photo().quantize(9), "PNG", transparency=b"\0\x80"),
    "lzw": encoded(photo(), "TIFF", compression="tiff_lzw"),
    "fax": encoded(photo(mode="1"), "TIFF", compression="group4"),
    "bitmap": encoded(photo((32, 32), "RGBA"), "ICO", bitmap_format="bmp"),
}  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(SOUND)), st.data())
def test_flipped_bits_and_cuts_never_raise_anything_else(kind: str, data: st.DataObject) -> None:
    changed = bytearray(SOUND[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at] ^= 1 << data.draw(st.integers(0, 7))
    end = data.draw(st.one_of(st.just(len(changed)), st.integers(0, len(changed))))
    try:
        found = decode(bytes(changed[:end]), DecodeOptions(64, max_pixels=4_000_000))
    except ImageError as error:
        assert error.reason
    else:
        assert found.pixels.dtype == np.uint8


def test_headers_that_disagree() -> None:
    """A GIF's picture may lie beside the GIF's corner, and be larger than the GIF says."""
    found = decode(gif_with_frame(48, 36, x=9, y=5)).pixels
    assert found.shape == (41, 57, 3)
    assert np.array_equal(found[5:, 9:], decode(encoded(photo(), "GIF")).pixels)


CHILD = """
import sys, warnings
from concurrent.futures import ThreadPoolExecutor
from cbir.errors import ImageError
from cbir.images import DecodeOptions, decode
def one(name):
    try:
        decode(name, DecodeOptions(224))
    except ImageError:
        pass
    return list(warnings.filters)
with ThreadPoolExecutor(4) as pool:
    seen = list(pool.map(one, sys.argv[1:]))
assert all(filters == seen[0] for filters in seen)
"""


@pytest.mark.parametrize("how", ["error", "always"])
def test_nothing_is_said_on_stderr(how: str, tmp_path: Path) -> None:
    """No warning, no logged error, and nothing from libtiff past Python; in threads."""
    names = [*write_broken(tmp_path), *write_odd(tmp_path)]
    fax = bytearray(encoded(photo((300, 300), "1"), "TIFF", compression="group4"))
    fax[20:60] = os.urandom(40)
    (tmp_path / "fax codes.tif").write_bytes(fax)
    done = subprocess.run(
        [sys.executable, "-W", how, "-c", CHILD, *names, "fax codes.tif"],
        cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_proc
def test_a_large_picture_takes_little_more_than_itself() -> None:
    """90 million pixels: 360 MB in Pillow, 270 MB as an array, and not much besides."""
    code = (
        PEAK
        + """
import zlib
from cbir.images import decode
from tests.broken import png
def packed(row, times):
    packer = zlib.compressobj(1)
    return b"".join(packer.compress(row * 100) for _ in range(times // 100)) + packer.flush()
data = png(9000, 10000, packed(b"\\0" + bytes(27000), 10000))
decode(png(10, 10, packed(b"\\0" + bytes(30), 100)))
before = peak()
assert decode(data).pixels.shape == (10000, 9000, 3)
print(peak() - before)
"""
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 690


def test_reading_that_fails_is_told_from_damage(tmp_path: Path) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    for act in (decode, content_hash):
        for source in (Failing(encoded(photo(), "PNG")), str(tmp_path / "none"), str(tmp_path)):
            with pytest.raises(ImageError, match="cannot be read") as caught:
                act(source)
            assert caught.value.passing
        with pytest.raises(ImageError, match="null"):
            act("a\0b")
    with pytest.raises(ImageError) as caught:
        decode(encoded(photo(), "JPEG")[:500])
    assert not caught.value.passing


def test_threads_agree(tmp_path: Path) -> None:
    names = write_odd(tmp_path)
    files = [str(tmp_path / name) for name in names]
    alone = [decode(file).pixels for file in files]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda f: decode(f).pixels, files * 3))
    for i, pixels in enumerate(together):
        assert np.array_equal(pixels, alone[i % len(files)]), names[i % len(files)]


def test_sources_and_hashes(tmp_path: Path) -> None:
    data = encoded(photo(), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    for source in (data, str(tmp_path / "a.png"), tmp_path / "a.png", io.BytesIO(data)):
        assert np.array_equal(decode(source).pixels, RGB)
        assert content_hash(source) == content_hash(data) and len(content_hash(source)) == 16
    assert content_hash(data) != content_hash(data + b"x")


def test_arrays_and_pil_images() -> None:
    assert np.array_equal(from_array(RGB).pixels, RGB)
    assert from_array(RGB[:, :, 0]).pixels.shape == RGB.shape
    clear = np.dstack([RGB, np.zeros(RGB.shape[:2], np.uint8)])
    assert from_array(clear).pixels.min() == 255
    for bad in (
        RGB.astype(float),
        RGB[:, :, :2],
        RGB[:0],
        "text",
        np.zeros((2, 2, 3, 1), np.uint8),
    ):
        with pytest.raises(UsageError, match="expected a uint8 array"):
            from_array(bad)  # type: ignore[arg-type]
    with Image.open(io.BytesIO(oriented(6))) as image:
        assert close(from_pil(image).pixels, np.rot90(RGB, -1), 6)
        assert (from_pil(image).width, from_pil(image).height) == (36, 48)
    for size in ((0, 0), (5, 0), (0, 5)):
        with pytest.raises(ImageError, match="has no pixels"):
            from_pil(Image.new("RGB", size))
    with Image.open(io.BytesIO(encoded(photo(), "JPEG")[:700])) as image:
        with pytest.raises(ImageError, match="damaged"):
            from_pil(image)


def test_a_png_says_nothing_of_ghostscript(tmp_path: Path) -> None:
    """EPS would run another program: it is never opened, whatever the file is called."""
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    with pytest.raises(ImageError, match="PostScript"):
        decode(eps)
    with pytest.raises(ImageError):
        decode(png(4, 4, b""))
    assert os.listdir(tmp_path) == []
