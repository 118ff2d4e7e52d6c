from __future__ import annotations

import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from cbir.errors import OperationFailedError, UsageError
from cbir.present.files import write_whole

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions and links")


def test_writes_and_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    write_whole(file, b"one")
    write_whole(str(file), b"two")
    assert file.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["page.html"]


def test_a_name_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_whole("page.html", b"one")
    assert (tmp_path / "page.html").read_bytes() == b"one"


def test_a_missing_folder_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected an existing folder"):
        write_whole(tmp_path / "none" / "page.html", b"one")
    assert not (tmp_path / "none").exists()


def test_a_folder_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="received the folder"):
        write_whole(tmp_path, b"one")


def test_a_name_that_is_too_long_is_an_operation_failed_error(tmp_path: Path) -> None:
    with pytest.raises(OperationFailedError, match="too long"):
        write_whole(tmp_path / ("x" * 300), b"one")
    assert os.listdir(tmp_path) == []


@posix
@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OperationFailedError, match="Permission denied"):
            write_whole(tmp_path / "page.html", b"one")
    finally:
        tmp_path.chmod(0o700)


@posix
def test_permissions_follow_the_umask_and_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    before = os.umask(0o027)
    try:
        write_whole(file, b"one")
        assert stat.S_IMODE(file.stat().st_mode) == 0o640
        file.chmod(0o604)
        write_whole(file, b"two")
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o604


@posix
def test_a_link_is_followed(tmp_path: Path) -> None:
    real = tmp_path / "real.html"
    link = tmp_path / "link.html"
    link.symlink_to(real)
    write_whole(link, b"one")
    assert link.is_symlink()
    assert real.read_bytes() == b"one"


@posix
def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, b"x" * 200_000)
    reader.join(10)
    assert received == [b"x" * 200_000]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
