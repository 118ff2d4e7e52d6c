"""Files to try decoders with: broken or hostile ones, and sound but unusual ones."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

SIZE = (48, 36)


def photo(size: tuple[int, int] = SIZE, mode: str = "RGB") -> Image.Image:
    """A smooth colourful picture."""
    small = np.random.default_rng(3).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).convert(mode)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a file of this format."""
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes, depth: int = 8, colour: int = 2,
        extra: bytes = b"") -> bytes:  # fmt: skip
    """A PNG with any header and any compressed data."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + extra + png_chunk(b"IDAT", data)
        + png_chunk(b"IEND", b"")
    )  # fmt: skip


def jpeg_with_size(width: int, height: int) -> bytes:
    """A JPEG whose header claims another size."""
    data = bytearray(encoded(photo(), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def tiff_with(changed: dict[int, int]) -> bytes:
    """A TIFF with other values of some tags in its header."""
    data = bytearray(encoded(photo(), "TIFF"))
    (at,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[at : at + 2])
    for i in range(count):
        entry = at + 2 + 12 * i
        tag = struct.unpack("<H", data[entry : entry + 2])[0]
        if tag in changed:
            data[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, changed[tag])
    return bytes(data)


def ico(content: bytes) -> bytes:
    """An icon that says it holds 16 x 16 pixels, with any content."""
    return (
        b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(content), 22) + content
    )


def icns(content: bytes) -> bytes:
    """An Apple icon that says it holds 128 x 128 pixels, with any content."""
    size = len(content) + 8
    return b"icns" + struct.pack(">I", size + 8) + b"ic07" + struct.pack(">I", size) + content


def many_scans(scans: int) -> bytes:
    """A sound progressive JPEG, and then some of its scans over and over."""
    parts = encoded(photo(), "JPEG", progressive=True).split(b"\xff\xda")
    again = [parts[-2]] * (scans - len(parts) + 1)
    return b"\xff\xda".join([*parts[:-1], *again, parts[-1]])


def gif_with_frame(width: int, height: int, x: int = 0, y: int = 0) -> bytes:
    """A GIF whose picture claims another size or place than the GIF itself."""
    data = bytearray(encoded(photo(), "GIF"))
    at = data.index(b"\x2c" + struct.pack("<HHHH", 0, 0, *SIZE))
    data[at + 1 : at + 9] = struct.pack("<HHHH", x, y, width, height)
    return bytes(data)


def _without_segment(marker: bytes) -> bytes:
    """A JPEG from which the first segment of a kind is gone."""
    data = encoded(photo(), "JPEG")
    at = data.index(marker)
    (length,) = struct.unpack(">H", data[at + 2 : at + 4])
    return data[:at] + data[at + 2 + length :]


def exchanged_profile() -> bytes:
    """An sRGB profile in which red and blue are exchanged."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    made = bytearray(srgb)
    count = int.from_bytes(srgb[128:132], "big")
    at = {srgb[i : i + 4]: i for i in range(132, 132 + 12 * count, 12)}
    red, blue = at[b"rXYZ"], at[b"bXYZ"]
    made[red + 4 : red + 12] = srgb[blue + 4 : blue + 12]
    made[blue + 4 : blue + 12] = srgb[red + 4 : red + 12]
    return bytes(made)


def _formats() -> dict[str, bytes]:
    frames = [photo().rotate(angle) for angle in (90, 180)]
    return {
        "jpg": encoded(photo((200, 160)), "JPEG", quality=90),
        "progressive.jpg": encoded(photo((200, 160)), "JPEG", progressive=True),
        "png": encoded(photo((200, 160)), "PNG"),
        "gif": encoded(photo((200, 160)), "GIF"),
        "animated.gif": encoded(photo((200, 160)), "GIF", save_all=True, append_images=frames),
        "webp": encoded(photo((200, 160)), "WEBP"),
        "tif": encoded(photo((200, 160)), "TIFF"),
        "lzw.tif": encoded(photo((200, 160)), "TIFF", compression="tiff_lzw"),
        "bmp": encoded(photo((200, 160)), "BMP"),
        "avif": encoded(photo((200, 160)), "AVIF"),
        "heic": encoded(photo((200, 160)), "HEIF"),
        "jp2": encoded(photo((200, 160)), "JPEG2000"),
        "tga": encoded(photo((200, 160)), "TGA"),
        "ppm": encoded(photo((200, 160)), "PPM"),
        "ico": encoded(photo((32, 32)), "ICO"),
        "pcx": encoded(photo(), "PCX"),
        "sgi": encoded(photo(), "SGI"),
        "qoi": encoded(photo(), "QOI"),
        "dds": encoded(photo(), "DDS"),
    }


def _texts() -> dict[str, bytes]:
    return {
        "empty.jpg": b"",
        "empty.png": b"",
        "one byte.jpg": b"\xff",
        "page.jpg": b"<!DOCTYPE html><html><body>404</body></html>",
        "page2.png": b"\n <HTML><head>",
        "xml.jpg": b"<?xml version='1.0'?><rss></rss>",
        "drawing.png": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "drawing2.jpg": b"<?xml version='1.0'?><svg></svg>",
        "answer.jpg": b'{"error": "not found"}',
        "document.jpg": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj",
        "script.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        "plain.jpg": b"hello, this is not a picture at all\n" * 20,
        "movie.jpg": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0" * 500,
        "movie.png": b"\x1aE\xdf\xa3\x01\0\0\0" + b"\0" * 500,
        "movie.gif": b"RIFF\x24\0\0\0AVI LIST" + b"\0" * 500,
        "zip.png": b"PK\x03\x04" + b"\0" * 300,
        "zeros.jpg": b"\0" * 4096,
        "noise.jpg": np.random.default_rng(1).bytes(5000),
    }


def _bombs() -> dict[str, bytes]:
    huge_gif = bytearray(encoded(photo(), "GIF"))
    huge_gif[6:10] = struct.pack("<HH", 60000, 60000)
    huge_bmp = bytearray(encoded(photo(), "BMP"))
    huge_bmp[18:26] = struct.pack("<ii", 60000, 60000)
    row = b"\0" * (1 + 14000 // 8)
    packer = zlib.compressobj(9)
    real = b"".join([packer.compress(row * 100) for _ in range(140)]) + packer.flush()
    text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 80_000_000, 9))
    whole_png = png(14000, 14000, real, depth=1, colour=0)
    progressive = bytearray(encoded(photo(), "JPEG", progressive=True))
    at = progressive.index(b"\xff\xc2") + 5
    progressive[at : at + 4] = struct.pack(">HH", 31000, 31000)
    return {
        "bomb.ico": ico(whole_png),
        "bomb.icns": icns(whole_png),
        "bomb frame.gif": gif_with_frame(60000, 60000),
        "bomb scans.jpg": many_scans(3000),
        "bomb progressive.jpg": bytes(progressive),
        "bomb.qoi": b"qoif" + struct.pack(">II", 60000, 60000) + b"\4\0" + b"\xfd" * 99,
        "bomb.tga": b"\0\0\2"
        + b"\0" * 9
        + struct.pack("<HH", 60000, 60000)
        + b"\x18\0"
        + b"\0" * 99,
        "bomb.png": png(60000, 60000, zlib.compress(b"\0" * 1000)),
        "bomb real.png": whole_png,
        "bomb deep.png": png(30000, 20000, zlib.compress(b"\0" * 100), depth=16, colour=6),
        "bomb.gif": bytes(huge_gif),
        "bomb.bmp": bytes(huge_bmp),
        "bomb.jpg": jpeg_with_size(65500, 65500),
        "bomb.tif": tiff_with({256: 60000, 257: 60000}),
        "bomb.ppm": b"P6 60000 60000 255\n" + b"\0" * 100,
        "bomb text.png": png(48, 36, zlib.compress(b"\0"), extra=text),
        "no width.png": png(0, 36, zlib.compress(b"\0" * 1000)),
        "no data.png": png(48, 36, b""),
        "bad zlib.png": png(48, 36, b"\x78\x9c" + b"\xff" * 300),
        "short data.png": png(48, 36, zlib.compress(b"\0" * 100)),
        "bad depth.png": png(48, 36, zlib.compress(b"\0" * 9000), depth=3),
    }


def _behind_a_magic() -> dict[str, bytes]:
    noise = np.random.default_rng(2).bytes(3000)
    loop = bytearray(encoded(photo(), "TIFF"))
    loop[4:8] = struct.pack("<I", 4)  # the directory lies on its own pointer
    return {
        "magic.jpg": b"\xff\xd8\xff\xe0" + noise,
        "magic.png": b"\x89PNG\r\n\x1a\n" + noise,
        "magic.gif": b"GIF89a" + noise,
        "magic.webp": b"RIFF" + struct.pack("<I", 3000) + b"WEBP" + noise,
        "magic.tif": b"II*\0" + noise,
        "magic.bmp": b"BM" + noise,
        "magic.avif": b"\0\0\0\x20ftypavif" + noise,
        "magic.heic": b"\0\0\0\x20ftypheic" + noise,
        "magic.ico": b"\0\0\1\0\1\0" + noise,
        "magic.jp2": b"\0\0\0\x0cjP  \r\n\x87\n" + noise,
        "magic.dds": b"DDS " + noise,
        "magic.qoi": b"qoif" + noise,
        "loop.tif": bytes(loop),
        **_damaged(),
        "only header.jpg": encoded(photo(), "JPEG")[:2],
    }


def _damaged() -> dict[str, bytes]:
    """Sound files in which something that matters is wrong."""
    webp, lzw = (
        encoded(photo(), "WEBP"),
        bytearray(encoded(photo(), "TIFF", compression="tiff_lzw")),
    )
    lzw[300:700] = b"\xff" * 400
    gif = bytearray(encoded(photo(), "GIF"))
    at = gif.index(b"\x2c\0\0\0\0")
    gif[at + 9] = 0  # no palette of its own
    gif[at + 10] = 99  # bits of the first code
    avif, heic = (bytearray(encoded(photo(), kind)) for kind in ("AVIF", "HEIF"))
    for data in (avif, heic):
        at = data.index(b"meta")
        data[at - 4 : at] = b"\x7f\xff\xff\xff"
    bmp = bytearray(encoded(photo(), "BMP"))
    bmp[28:30] = struct.pack("<H", 7)
    inside = encoded(photo((16, 16)), "PNG")
    return {
        "riff size.webp": webp[:4] + struct.pack("<I", 9) + webp[8:],
        "chunk size.webp": webp[:16] + struct.pack("<I", 1 << 30) + webp[20:],
        "codes.tif": bytes(lzw),
        "codes.gif": bytes(gif),
        "boxes.avif": bytes(avif),
        "boxes.heic": bytes(heic),
        "bits.bmp": bytes(bmp),
        "offset.ico": ico(inside)[:18] + struct.pack("<I", 99999) + inside,
        "nothing in it.ico": b"\0\0\1\0\0\0",
        "nothing in it.icns": b"icns\0\0\0\x08",
        "no tables.jpg": _without_segment(b"\xff\xdb"),
        "no frame.jpg": _without_segment(b"\xff\xc0"),
        "no scan.jpg": encoded(photo(), "JPEG").split(b"\xff\xda")[0],
        "samples.tif": tiff_with({277: 60000}),
        "strips.tif": tiff_with({273: 0x7FFFFFFF}),
        "no directory.tif": b"II*\0\xff\xff\xff\x7f" + b"\0" * 100,
    }


def write_broken(folder: Path) -> list[str]:
    """Write more than 60 files that no decoder may take; their names."""
    made = {**_texts(), **_bombs(), **_behind_a_magic()}
    for suffix, data in _formats().items():
        for share in (0.1, 0.5, 0.8):
            if suffix == "animated.gif" and share > 0.1:
                continue  # its first picture is whole
            made[f"cut {share}.{suffix}"] = data[: int(len(data) * share)]
    for name, data in made.items():
        (folder / name).write_bytes(data)
    return sorted(made)


def oriented(orientation: object, kind: str = "JPEG") -> bytes:
    """A picture with this EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(photo(), kind, exif=exif.tobytes())


def _modes() -> dict[str, bytes]:
    grey16 = (np.arange(SIZE[0] * SIZE[1]).reshape(SIZE[1], SIZE[0]) * 37 % 65536).astype(np.uint16)
    alpha = photo(mode="RGBA")
    alpha.putalpha(photo(mode="L"))
    palette = photo().quantize(16)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return {
        "1.png": encoded(photo(mode="1"), "PNG"),
        "L.png": encoded(photo(mode="L"), "PNG"),
        "LA.png": encoded(alpha.convert("LA"), "PNG"),
        "RGBA.png": encoded(alpha, "PNG"),
        "P.png": encoded(palette, "PNG"),
        "P transparent.png": encoded(palette, "PNG", transparency=3),
        "RGB transparent.png": encoded(photo(), "PNG", transparency=(1, 2, 3)),
        "L transparent.png": encoded(photo(mode="L"), "PNG", transparency=7),
        "16.png": encoded(Image.fromarray(grey16), "PNG"),
        "16.tif": encoded(Image.fromarray(grey16), "TIFF"),
        "I.tif": encoded(Image.fromarray(grey16.astype(np.int32) * 100), "TIFF"),
        "F.tif": encoded(Image.fromarray(grey16.astype(np.float32) / 7), "TIFF"),
        "CMYK.jpg": encoded(photo(mode="CMYK"), "JPEG"),
        "CMYK.tif": encoded(photo(mode="CMYK"), "TIFF"),
        "LAB.tif": encoded(photo(mode="LAB"), "TIFF"),
        "YCbCr.tif": encoded(photo(mode="YCbCr"), "TIFF"),
        "icc.jpg": encoded(photo(), "JPEG", icc_profile=profile),
        "icc other.jpg": encoded(photo(), "JPEG", icc_profile=exchanged_profile()),
        "icc other.png": encoded(alpha, "PNG", icc_profile=exchanged_profile()),
        "P several alphas.png": encoded(palette, "PNG", transparency=bytes(range(0, 256, 16))),
        "16 big.tif": encoded(Image.frombytes("I;16B", SIZE, grey16.byteswap().tobytes()), "TIFF"),
        "16 transparent.png": encoded(Image.fromarray(grey16), "PNG", transparency=37),
        "fax.tif": encoded(photo(mode="1"), "TIFF", compression="group4"),
        "jpeg in.tif": encoded(photo(), "TIFF", compression="jpeg"),
        "big.tif": encoded(photo(), "TIFF", big_tiff=True),
        "RGBA.webp": encoded(alpha, "WEBP", lossless=True),
        "RGBA.tif": encoded(alpha, "TIFF"),
        "CMYK progressive.jpg": encoded(photo(mode="CMYK"), "JPEG", progressive=True),
        "icc garbage.jpg": encoded(photo(), "JPEG", icc_profile=b"no profile" * 30),
    }


def write_odd(folder: Path) -> list[str]:
    """Write sound but unusual files, which every decoder must take; their names."""
    frames = [photo().rotate(angle) for angle in (90, 180)]
    whole = _formats()
    several = {"save_all": True, "append_images": frames}
    made = {
        **_modes(),
        **{f"whole.{suffix}": data for suffix, data in whole.items()},
        **{f"orientation {i}.jpg": oriented(i) for i in (*range(10), 77)},
        "orientation 6.png": oriented(6, "PNG"),
        "orientation 6.webp": oriented(6, "WEBP"),
        "orientation 6.tif": oriented(6, "TIFF"),
        "orientation 6.avif": oriented(6, "AVIF"),
        "orientation 6.heic": oriented(6, "HEIF"),
        "orientation twice.jpg": oriented((6, 8)),
        "animated.webp": encoded(photo(), "WEBP", **several),
        "animated.png": encoded(photo(), "PNG", **several),
        "pages.tif": encoded(photo(), "TIFF", **several),
        "several.mpo": encoded(photo(), "MPO", **several),
        "bitmap.ico": encoded(photo((32, 32), "RGBA"), "ICO", bitmap_format="bmp"),
        "apple.icns": icns(encoded(photo((128, 128), "RGBA"), "PNG")),
        "frame to the side.gif": gif_with_frame(*SIZE, x=9, y=5),
        "one pixel.gif": encoded(photo((1, 1)), "GIF"),
        "one pixel.jpg": encoded(photo((1, 1)), "JPEG"),
        "one pixel.png": encoded(photo((1, 1)), "PNG"),
        "tall.png": encoded(photo((1, 20000)), "PNG"),
        "wide.png": encoded(photo((20000, 1)), "PNG"),
        "really a jpeg.png": encoded(photo(), "JPEG"),
        "no suffix": encoded(photo(), "PNG"),
        "UPPER.JPG": encoded(photo(), "JPEG"),
        "cut in a later picture.gif": whole["animated.gif"][: len(whole["animated.gif"]) * 4 // 5],
        "bad exif.jpg": encoded(photo(), "JPEG", exif=b"Exif\0\0II*\0garbage garbage"),
        "codes by default.jpg": _without_segment(b"\xff\xc4"),  # as the frames of films are
        "more behind.jpg": encoded(photo(), "JPEG") + b"garbage" * 100,
    }
    for name, data in made.items():
        (folder / name).write_bytes(data)
    return sorted(made)


__all__ = [
    "encoded",
    "exchanged_profile",
    "gif_with_frame",
    "icns",
    "ico",
    "many_scans",
    "oriented",
    "photo",
    "png",
    "png_chunk",
    "write_broken",
    "write_odd",
]
