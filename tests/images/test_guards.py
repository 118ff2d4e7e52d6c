"""Headers that hide what a file costs: icons, and JPEGs of several scans."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from cbir.errors import ImageError
from cbir.images import DecodeOptions, decode
from cbir.images.guards import MAX_SCANS, check_icon, several_scans
from tests.broken import encoded, icns, ico, many_scans, photo, png

KINDS = ("PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "HEIF", "JPEG", "ICO")


@pytest.mark.parametrize("wrap", [ico, icns])
def test_the_picture_in_an_icon_counts(wrap) -> None:  # type: ignore[no-untyped-def]
    kinds = ("PNG", "JPEG2000") if wrap is icns else ("PNG",)
    for kind in kinds:
        file = io.BytesIO(wrap(encoded(photo((128, 128)), kind)))
        check_icon(file, 128 * 128)
        assert file.tell() == 0
        with pytest.raises(ImageError, match="icon with a picture of 128 x 128 pixels"):
            check_icon(file, 128 * 128 - 1)
        assert file.tell() == 0
        with pytest.raises(ImageError, match="too large"):
            decode(file, DecodeOptions(max_pixels=1000))
    for broken in (wrap(b""), wrap(b"\x89PNG\r\n\x1a\n"), wrap(b"\0" * 50)):
        check_icon(io.BytesIO(broken), 1)
        with pytest.raises(ImageError):
            decode(broken)


def test_the_bitmap_in_an_icon_counts() -> None:
    head = struct.pack("<IiiHHIIiiII", 40, 20000, 2 * 20000, 1, 1, 0, 0, 0, 0, 2, 0)
    with pytest.raises(ImageError, match="20000 x 20000"):
        decode(ico(head + b"\0" * 100))
    sound = encoded(photo((32, 32), "RGBA"), "ICO", bitmap_format="bmp")
    check_icon(io.BytesIO(sound), 32 * 32)
    with pytest.raises(ImageError, match="32 x 32"):
        check_icon(io.BytesIO(sound), 32 * 32 - 1)


@pytest.mark.parametrize("kind", KINDS)
def test_others_pass_and_are_rewound(kind: str) -> None:
    file = io.BytesIO(encoded(photo((32, 32)), kind))
    if kind != "ICO":
        check_icon(file, 1)
    assert several_scans(file) is False
    assert file.tell() == 0


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_several_scans_are_seen(mode: str, progressive: bool) -> None:
    data = encoded(photo(mode=mode), "JPEG", progressive=progressive)
    assert several_scans(io.BytesIO(data)) is progressive
    padded = data[:2] + b"\xff\xff" + data[2:]  # a marker may be filled up
    assert several_scans(io.BytesIO(padded)) is progressive


def test_a_baseline_jpeg_may_have_several_scans_too() -> None:
    """By its header: the first scan holds one of three components."""
    data = encoded(photo(), "JPEG")
    at = data.index(b"\xff\xda")
    one = data[:at] + b"\xff\xda\0\x08\1\1\0\0\x3f\0" + data[at + 14 :]
    assert several_scans(io.BytesIO(one))
    large = bytearray(one)
    frame = large.index(b"\xff\xc0") + 5
    large[frame : frame + 4] = struct.pack(">HH", 30000, 30000)
    with pytest.raises(ImageError, match="30000 x 30000 pixels in memory"):
        decode(bytes(large), DecodeOptions(224))
    assert not several_scans(io.BytesIO(data))


def test_more_scans_than_any_encoder_writes_are_refused() -> None:
    assert decode(many_scans(MAX_SCANS)).pixels.shape == (36, 48, 3)
    with pytest.raises(ImageError, match=f"{MAX_SCANS + 50} scans"):
        decode(many_scans(MAX_SCANS + 50))
    # A film behind the picture has the two bytes by chance.
    behind = encoded(photo(), "JPEG", progressive=True) + (b"\0" * 40000 + b"\xff\xda") * 1100
    assert decode(behind).pixels.shape == (36, 48, 3)


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xc0",
                                  b"\xff\xd8\xff\xc2\0\1", b"\xff\xd8" + b"\xff" * 99])  # fmt: skip
def test_what_ends_at_once(data: bytes) -> None:
    file = io.BytesIO(data)
    check_icon(file, 1)
    assert several_scans(file) is False


def test_the_size_of_an_icon_in_an_icon_file_is_only_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pixel is decoded for a picture that is refused."""
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("a picture was loaded"))
    rows = zlib.compress(b"\0" * 1000)
    for wrap in (ico, icns):
        with pytest.raises(ImageError, match="20000 x 30000"):
            decode(wrap(png(20000, 30000, rows)))
