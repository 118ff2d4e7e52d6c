"""Which files of a folder are taken for images, and what can be said of the others."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from cbir.errors import UsageError
from cbir.images.decode import FORMATS, prepare_pillow
from cbir.images.scan import HEAD_BYTES, SUFFIXES, Scan, ScanOptions, is_image_head, scan

posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX file system")
JPEG = b"\xff\xd8\xff\xe0" + bytes(60)


def put(folder: Path, *names: str, data: bytes = JPEG) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def paths(found: Scan) -> list[str]:
    return [ref.path for ref in found.refs]


def test_refs_are_sorted_and_say_where_they_are(tmp_path: Path) -> None:
    put(tmp_path, "b/z.jpg", "b/a.jpg", "a.jpg", "c/d/e.PNG", "b.jpg")
    os.utime(tmp_path / "a.jpg", ns=(10, 123_456_789_000))
    found = scan(str(tmp_path))
    assert paths(found) == ["a.jpg", "b.jpg", "b/a.jpg", "b/z.jpg", "c/d/e.PNG"]
    first = found.refs[0]
    assert (first.root, first.size, first.mtime_ns) == (str(tmp_path), 64, 123_456_789_000)
    assert all(Path(ref.file).read_bytes() == JPEG for ref in found.refs)
    assert (found.failures, found.ignored, found.excluded, found.unreadable) == ([], 0, 0, [])


def test_an_empty_folder_has_nothing(tmp_path: Path) -> None:
    assert scan(str(tmp_path)) == Scan()


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    put(tmp_path, "photo.dat", "photo", "photo.jpg.bak")
    put(tmp_path, "page.jpg", data=b"<html>")
    put(tmp_path, "empty.png", data=b"")
    put(tmp_path, "README.txt", "data.csv", data=b"a,b\n1,2\n")
    put(tmp_path, "nothing", data=b"")
    found = scan(str(tmp_path))
    assert paths(found) == ["empty.png", "page.jpg", "photo", "photo.dat", "photo.jpg.bak"]
    assert found.ignored == 3


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_every_suffix_counts_in_any_case(suffix: str, tmp_path: Path) -> None:
    put(tmp_path, f"a.{suffix}", f"b.{suffix.upper()}", data=b"?")
    assert len(scan(str(tmp_path)).refs) == 2


SAVED = {
    "JPEG": "RGB", "PNG": "RGB", "GIF": "P", "WEBP": "RGB", "BMP": "RGB", "TIFF": "RGB",
    "AVIF": "RGB", "HEIF": "RGB", "PPM": "RGB", "JPEG2000": "RGB", "QOI": "RGB", "DDS": "RGB",
}  # fmt: skip


@pytest.mark.parametrize("kind", SAVED)
def test_what_pillow_writes_is_known_by_its_first_bytes(kind: str, tmp_path: Path) -> None:
    prepare_pillow()
    assert kind in FORMATS
    Image.new(SAVED[kind], (40, 30)).save(tmp_path / "unnamed", kind)
    assert paths(scan(str(tmp_path))) == ["unnamed"]


@pytest.mark.parametrize(
    "head",
    [
        b"II*\0", b"MM\0*", b"II+\0\x08\0", b"GIF87a", b"GIF89a", b"P6\n10 10\n", b"P5 # made\n",
        b"BM" + bytes(12) + b"\x28\0\0\0", b"\xff\x4f\xff\x51", b"icns" + bytes(9),
        b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", b"\0\0\0\x20ftypmiaf\0\0\0\0miafavif",
    ],
)  # fmt: skip
def test_heads_of_images(head: bytes) -> None:
    assert is_image_head(head.ljust(HEAD_BYTES, b"\0"))


@pytest.mark.parametrize(
    "head",
    [
        b"", b"\xff", b"BM", b"BM is a word that some texts begin with", b"RIFF\0\0\0\0WAVEfmt ",
        b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", b"%PDF-1.7", b"<svg>", b"PK\3\4", b"P6",
        b"P1 is a text", b"GIF", b"\x89PNG\n", b"\0\0\0\0ftyp",
        b"\0\0\0\x14ftypisom\0\0\2\0isommoovheic",  # "heic" lies beyond the box
    ],
)  # fmt: skip
def test_heads_of_others(head: bytes) -> None:
    assert not is_image_head(head)


def test_hidden_things_are_taken_only_on_request(tmp_path: Path) -> None:
    put(tmp_path, ".a.jpg", ".b/c.jpg", "d/.e.jpg", "d/f.jpg")
    assert paths(scan(str(tmp_path))) == ["d/f.jpg"]
    shown = scan(str(tmp_path), ScanOptions(include_hidden=True))
    assert paths(shown) == [".a.jpg", ".b/c.jpg", "d/.e.jpg", "d/f.jpg"]


@pytest.mark.parametrize("hidden", [False, True])
def test_what_operating_systems_leave_behind_is_no_image(hidden: bool, tmp_path: Path) -> None:
    put(
        tmp_path, "Thumbs.db", "thumbs.DB", ".DS_Store", "desktop.ini", "._a.jpg", "a.jpg",
        "__MACOSX/a.jpg", "@eaDir/a.jpg/thumb.jpg", "$RECYCLE.BIN/b.jpg",
        "System Volume Information/c.jpg", "sub/@eaDir/d.jpg",
    )  # fmt: skip
    found = scan(str(tmp_path), ScanOptions(include_hidden=hidden))
    assert paths(found) == ["a.jpg"]


@pytest.mark.parametrize(
    ("globs", "left", "excluded"),
    [
        (("*.png",), ["a.jpg", "raw/c.jpg", "raw/deep/d.jpg", "x/raw/e.jpg"], 1),
        (("raw",), ["a.jpg", "b.png"], 2),
        (("raw/",), ["a.jpg", "b.png"], 2),
        (("raw/*",), ["a.jpg", "b.png", "x/raw/e.jpg"], 2),
        (("raw/deep",), ["a.jpg", "b.png", "raw/c.jpg", "x/raw/e.jpg"], 1),
        (("*/raw",), ["a.jpg", "b.png", "raw/c.jpg", "raw/deep/d.jpg"], 1),
        (("RAW", "A.JPG"), ["a.jpg", "b.png", "raw/c.jpg", "raw/deep/d.jpg", "x/raw/e.jpg"], 0),
        (("[ab].*", "d*"), ["raw/c.jpg", "x/raw/e.jpg"], 3),
        (("*",), [], 4),
    ],
)
def test_exclude_fits_names_and_paths_with_case(
    globs: tuple[str, ...], left: list[str], excluded: int, tmp_path: Path
) -> None:
    put(tmp_path, "a.jpg", "b.png", "raw/c.jpg", "raw/deep/d.jpg", "x/raw/e.jpg")
    found = scan(str(tmp_path), ScanOptions(exclude=globs))
    assert paths(found) == left
    assert found.excluded == excluded


@pytest.mark.parametrize("prefix", ["2019", "2019/", "/2019/"])
def test_globs_can_be_those_of_a_folder_above(prefix: str, tmp_path: Path) -> None:
    put(tmp_path, "2019/raw/a.jpg", "2019/b.jpg")
    options = ScanOptions(exclude=("2019/raw",))
    assert paths(scan(str(tmp_path), options)) == ["2019/b.jpg"]
    below = ScanOptions(exclude=("2019/raw",), prefix=prefix)
    assert paths(scan(str(tmp_path / "2019"), below)) == ["b.jpg"]


@pytest.mark.parametrize("part", ["ann/1-1.faiss", "writer.lock", "embedder/spec.json"])
def test_index_folders_are_never_entered(part: str, tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "index/catalog.sqlite", f"index/{part}", "index/b.jpg", "index/c/d.jpg")
    assert paths(scan(str(tmp_path))) == ["a.jpg"]
    with pytest.raises(UsageError, match="folder of an index"):
        scan(str(tmp_path / "index"))


def test_a_catalog_of_another_program_hides_no_photos(tmp_path: Path) -> None:
    put(tmp_path, "catalog.sqlite", "a.jpg", data=JPEG)
    assert "a.jpg" in paths(scan(str(tmp_path)))


def test_skipped_folders_are_never_entered(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "skip/b.jpg", "deep/skip/c.jpg")
    options = ScanOptions(skip_dirs=(str(tmp_path / "skip"), str(tmp_path / "not there")))
    assert paths(scan(str(tmp_path), options)) == ["a.jpg", "deep/skip/c.jpg"]
    with pytest.raises(UsageError, match="folder of an index"):
        scan(str(tmp_path / "skip"), options)


@posix
def test_a_skipped_folder_is_not_entered_through_a_link(tmp_path: Path) -> None:
    put(tmp_path, "photos/a.jpg", "index/b.jpg")
    (tmp_path / "photos/link").symlink_to(tmp_path / "index")
    options = ScanOptions(skip_dirs=(str(tmp_path / "index"),))
    assert paths(scan(str(tmp_path / "photos"), options)) == ["a.jpg"]


@posix
def test_links_are_followed_and_loops_are_harmless(tmp_path: Path) -> None:
    put(tmp_path, "root/sub/a.jpg", "outside/b.jpg", "outside/deep/c.jpg")
    root = tmp_path / "root"
    (root / "sub/up").symlink_to(root)
    (root / "sub/self").symlink_to(root / "sub")
    (root / "file.jpg").symlink_to(tmp_path / "outside/b.jpg")
    (root / "one").symlink_to(tmp_path / "outside")
    (root / "two").symlink_to(tmp_path / "outside")
    (tmp_path / "outside/back").symlink_to(root)
    found = scan(str(root))
    assert paths(found) == ["file.jpg", "one/b.jpg", "one/deep/c.jpg", "sub/a.jpg"]
    assert found.refs[0].size == len(JPEG)
    assert found.failures == []


@posix
def test_a_real_folder_keeps_its_own_path_beside_a_link(tmp_path: Path) -> None:
    put(tmp_path, "z/a.jpg", "z/y/b.jpg")
    (tmp_path / "a").symlink_to(tmp_path / "z")
    (tmp_path / "b").symlink_to(tmp_path / "z/y")
    assert paths(scan(str(tmp_path))) == ["z/a.jpg", "z/y/b.jpg"]


@posix
def test_links_to_nothing_are_counted(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "no such file")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "through.jpg").symlink_to(tmp_path / "a.jpg/below")
    found = scan(str(tmp_path))
    assert paths(found) == ["a.jpg"]
    assert (found.ignored, found.failures) == (3, [])


@posix
@pytest.mark.timeout(20)
def test_pipes_sockets_and_devices_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")  # opening it would wait for ever
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    short = tempfile.mkdtemp(prefix="s")  # a socket's path has to be short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(f"{short}/socket.jpg")
            assert scan(short) == Scan(ignored=1)
    finally:
        shutil.rmtree(short)
    assert scan(str(tmp_path)) == Scan(ignored=3)


@posix
@pytest.mark.parametrize(
    "name",
    [
        b"line\nbreak.jpg", b" leading.jpg", b"trailing.jpg ", b"quote'\".jpg", b"back\\slash.jpg",
        b"tab\t.jpg", "猫 😀.jpg".encode(), "e\u0301.jpg".encode(), b"percent%20.jpg", b"-rf",
        b"latin1-\xe9.jpg", b"\xff\xfe", b"*?[.jpg", b"$HOME.jpg", b"x" * 255,
    ],
)  # fmt: skip
def test_odd_names_are_kept_exactly(name: bytes, tmp_path: Path) -> None:
    folder = os.path.join(os.fsencode(tmp_path), name)
    try:
        os.mkdir(folder)
    except OSError as error:  # macOS refuses what is not UTF-8
        pytest.skip(f"no such name here: {error}")
    with open(os.path.join(folder, name), "wb") as file:
        file.write(JPEG)
    (ref,) = scan(str(tmp_path)).refs
    assert os.fsencode(ref.path) == name + b"/" + name
    assert Path(ref.file).read_bytes() == JPEG


@pytest.mark.parametrize("name", ["no such folder", "file.jpg", "nul\0"])
def test_a_root_that_is_none_is_a_usage_error(name: str, tmp_path: Path) -> None:
    put(tmp_path, "file.jpg")
    with pytest.raises(UsageError, match="Expected a folder with images"):
        scan(str(tmp_path / name))


def test_a_relative_root_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "in/a.jpg")
    monkeypatch.chdir(tmp_path)
    (ref,) = scan("in").refs
    assert ref.root == str(tmp_path / "in")


@contextmanager
def as_nobody() -> Iterator[Path]:
    """A new folder, as a user who may not read everything (root may)."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        yield folder
    finally:
        if root:
            os.seteuid(0)
        for inner in folder.rglob("*"):
            if not inner.is_symlink():
                inner.chmod(0o777)
        shutil.rmtree(folder)


@posix
def test_what_may_not_be_read_is_a_failure_and_not_gone() -> None:
    with as_nobody() as folder:
        put(folder, "a.jpg", "open/b.jpg", "closed/c.jpg", "inner/d.jpg", "secret", "secret.jpg")
        (folder / "behind").symlink_to(folder / "closed/deeper")
        for name in ("closed", "secret", "secret.jpg"):
            (folder / name).chmod(0)
        found = scan(str(folder))
        assert paths(found) == ["a.jpg", "inner/d.jpg", "open/b.jpg", "secret", "secret.jpg"]
        assert sorted(found.unreadable) == ["behind", "closed"]
        reasons = {failure.path: failure.reason for failure in found.failures}
        assert reasons == {
            str(folder / "closed"): "folder cannot be read (Permission denied)",
            str(folder / "behind"): "cannot be read (Permission denied)",
        }
        with pytest.raises(UsageError, match=r"cannot be read \(Permission denied\)"):
            scan(str(folder / "closed"))


@posix
def test_very_deep_folders_need_no_recursion_and_no_longer_path_than_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    depth = 3000  # beyond Python's recursion limit, and beyond the longest path
    assert depth > sys.getrecursionlimit()
    for _ in range(depth):
        os.mkdir("d")
        os.chdir("d")
        Path("a.jpg").write_bytes(JPEG)
    found = scan(str(tmp_path))
    assert 500 < len(found.refs) < depth
    assert len(found.failures) == len(found.unreadable) >= 1
    assert all("name too long" in failure.reason for failure in found.failures)
    for _ in range(depth):  # rmtree would need a recursion of its own
        os.chdir("..")
        os.unlink("d/a.jpg")
        os.rmdir("d")
