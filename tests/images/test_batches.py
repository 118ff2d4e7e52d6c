"""Files → batches: order, failures, look-ahead, known contents; and single query pictures."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cbir.config import EmbedderSpec
from cbir.errors import ImageError, UsageError
from cbir.images import LoadOptions, content_hash, decode, load, prepare, resize, scan
from cbir.images import batches as module
from cbir.images.decode import decode_image
from cbir.types import ImageRef
from tests.broken import encoded, photo
from tests.conftest import picture

SPEC = EmbedderSpec(input_size=32)


def options(**changes: object) -> LoadOptions:
    return LoadOptions(spec=SPEC, **changes)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(20):
        picture(i).save(tmp_path / f"{i:02d}.png")
    (tmp_path / "05.png").write_bytes(b"")
    (tmp_path / "13.png").write_bytes(b"<html>")
    return tmp_path


@pytest.mark.parametrize("size", [1, 3, 7, 100])
@pytest.mark.parametrize("workers", [1, 4])
def test_order_and_failures(folder: Path, size: int, workers: int) -> None:
    refs = scan(str(folder)).refs
    made = list(load(refs, options(batch_size=size, workers=workers)))
    assert all(len(b.images) + len(b.failures) == size for b in made[:-1])
    good = [image.ref for batch in made for image in batch.images]
    bad = [ref for batch in made for ref, _ in batch.failures]
    assert good == [r for r in refs if r.path not in ("05.png", "13.png")]
    assert [r.path for r in bad] == ["05.png", "13.png"]
    failure = next(f for batch in made for _, f in batch.failures)
    assert failure.path == str(folder / "05.png") and failure.reason == "empty file"


def test_pixels_are_those_of_decode_and_resize(folder: Path) -> None:
    image = next(load(scan(str(folder)).refs, options())).images[0]
    decoded = decode(str(folder / "00.png"))
    assert image.pixels is not None
    assert np.array_equal(image.pixels, resize(decoded.pixels, 32))
    assert image.content == content_hash(str(folder / "00.png"))
    assert (image.width, image.height, image.format) == (40, 30, "PNG")


def test_known_contents_are_not_decoded(folder: Path) -> None:
    known = {content_hash(str(folder / f"{i:02d}.png")) for i in (0, 3)}
    images = [i for b in load(scan(str(folder)).refs, options(known=known.__contains__))
              for i in b.images]  # fmt: skip
    assert [i.ref.path for i in images if i.pixels is None] == ["00.png", "03.png"]


def test_files_that_vanish_are_failures(folder: Path) -> None:
    refs = scan(str(folder)).refs[:3]
    os.remove(folder / "01.png")
    batch = next(load(refs, options()))
    assert [i.ref.path for i in batch.images] == ["00.png", "02.png"]
    assert "No such file" in batch.failures[0][1].reason


def test_the_look_ahead_is_bounded(folder: Path) -> None:
    ref = scan(str(folder)).refs[0]
    asked = 0

    def many() -> Iterator[ImageRef]:
        nonlocal asked
        for _ in range(400):
            asked += 1
            yield ref

    made = load(many(), options(batch_size=10, workers=2))
    next(made)
    assert asked <= 10 + 2 * 10 + 2
    made.close()  # type: ignore[attr-defined]
    assert asked <= 10 + 2 * 10 + 2
    assert not [t for t in threading.enumerate() if t.name.startswith("cbir-decode")]


def test_no_files_no_batches() -> None:
    assert list(load([], options())) == []


def test_large_files_are_not_held_in_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refs = scan(str(folder)).refs
    wanted = [i for b in load(refs, options()) for i in b.images]
    monkeypatch.setattr(module, "IN_MEMORY", 10)
    monkeypatch.setattr(module, "LARGE", 10)
    found = [i for b in load(refs, options()) for i in b.images]
    assert [i.content for i in found] == [i.content for i in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert np.array_equal(one.pixels, other.pixels)  # type: ignore[arg-type]


def test_the_pixel_limit_is_passed_on(folder: Path) -> None:
    made = list(load(scan(str(folder)).refs, options(max_pixels=100)))
    assert not made[0].images and "too large" in made[0].failures[0][1].reason


def test_prepare_takes_every_kind_of_picture(folder: Path) -> None:
    file = folder / "00.png"
    wanted = resize(decode(str(file)).pixels, 32)
    array = np.asarray(picture(0))
    with Image.open(file) as opened:
        made = [prepare(s, SPEC) for s in (str(file), file, file.read_bytes(), opened, array)]
    assert all(np.array_equal(m.pixels, wanted) for m in made)  # type: ignore[arg-type]
    assert len({m.content for m in made[:3]}) == 1
    assert made[3].content == made[4].content != made[0].content
    assert (made[0].width, made[0].height) == (40, 30)


@pytest.mark.parametrize("policy", ["squash", "crop", "pad"])
def test_prepare_follows_the_policy(policy: str) -> None:
    spec = EmbedderSpec(input_size=24, resize=policy)  # type: ignore[arg-type]
    found = prepare(np.asarray(photo()), spec)
    assert np.array_equal(found.pixels, resize(np.asarray(photo()), 24, policy))  # type: ignore[arg-type]


def test_a_crop_is_cut_from_the_upright_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(photo((1200, 900)), "JPEG", exif=exif.tobytes(), quality=95)
    upright = decode(data).pixels
    assert upright.shape == (1200, 900, 3)
    found = prepare(data, SPEC, "100,200,400,300")
    assert np.array_equal(found.pixels, resize(upright[200:500, 100:500], 32))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="900 x 1200"):
        prepare(data, SPEC, "0,0,1000,10")


def test_what_cannot_be_prepared_is_said(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file") as caught:
        prepare(str(tmp_path / "none.png"), SPEC)
    assert caught.value.path == str(tmp_path / "none.png")
    with pytest.raises(ImageError, match="empty"):
        prepare(b"", SPEC)
    with pytest.raises(UsageError, match="uint8"):
        prepare(np.zeros((4, 4, 3)), SPEC)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="uint8"):
        prepare(io.BytesIO(b"x"), SPEC)  # type: ignore[arg-type]


def test_a_file_that_vanished_may_come_back(folder: Path) -> None:
    refs = scan(str(folder)).refs[:6]
    os.remove(folder / "01.png")
    batch = next(load(refs, options()))
    assert [(ref.path, failure.passing) for ref, failure in batch.failures] == [
        ("01.png", True),
        ("05.png", False),
    ]


def _decoders() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("cbir-decode")]


def test_errors_of_the_caller_come_through_and_end_the_threads(folder: Path) -> None:
    def known(content: bytes) -> bool:
        raise KeyError("the catalog is closed")

    refs = scan(str(folder)).refs
    with pytest.raises(KeyError, match="closed"):
        list(load(refs, options(known=known, workers=3)))
    assert not _decoders()

    def ends() -> Iterator[ImageRef]:
        yield from refs[:3]
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        list(load(ends(), options(workers=3)))
    assert not _decoders()
    load(refs, options()).close()  # type: ignore[attr-defined]  # never begun
    assert not _decoders()


def test_large_pictures_are_decoded_one_at_a_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once: list[int] = []
    running = 0
    lock = threading.Lock()
    pause = threading.Event()

    def watched(*args: object) -> object:
        nonlocal running
        with lock:
            running += 1
            at_once.append(running)
        pause.wait(0.02)
        try:
            return decode_image(*args)  # type: ignore[arg-type]
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(module, "decode_image", watched)
    refs = [ref for ref in scan(str(folder)).refs if ref.path not in ("05.png", "13.png")]
    list(load(refs, options(workers=4)))
    assert max(at_once) > 1
    at_once.clear()
    monkeypatch.setattr(module, "LARGE", 40 * 30 - 1)
    list(load(refs, options(workers=4)))
    assert max(at_once) == 1 and len(at_once) == len(refs)


def test_a_path_that_no_file_can_have() -> None:
    with pytest.raises(ImageError, match="null byte") as caught:
        prepare("a\0b", SPEC)
    assert caught.value.path == "a\0b"


def test_a_picture_without_pixels_cannot_be_prepared() -> None:
    with pytest.raises(ImageError, match="no pixels"):
        prepare(Image.new("RGB", (0, 3)), SPEC)
