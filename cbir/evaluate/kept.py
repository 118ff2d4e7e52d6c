"""Finished measurements in a folder, one file each: a run that was interrupted goes on from them.

A file is named after the system, for people, and after a key, which is a hash of everything that
made it. A file of another key, a torn one or one of another format counts as not there; it is
written whole or not at all, so that a kill leaves nothing torn.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from cbir.errors import ImageError, OperationFailedError, UsageError
from cbir.evaluate.ground_truth import Truth
from cbir.evaluate.protocol import Answers
from cbir.images import content_hash
from cbir.present import visible, write_whole

VERSION = 1


def key_of(parts: Mapping[str, Any]) -> str:
    """32 hex digits over plain values."""
    text = json.dumps({"version": VERSION, **parts}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def contents_of(truth: Truth, advance: Callable[[int], None] = lambda _: None) -> list[bytes]:
    """The content hash of each picture; b"" where a file cannot be read."""
    found = []
    for path in truth.paths:
        try:
            found.append(content_hash(path))
        except ImageError:
            found.append(b"")
        advance(1)
    return found


def protocol_key(truth: Truth, contents: list[bytes]) -> str:
    """A hash of what is asked: contents of the pictures, gallery, queries; not where they lie."""
    queries = [
        (q.image, q.relevant.tolist(), q.junk.tolist(), q.own, q.crop) for q in truth.queries
    ]
    return key_of(
        {"contents": [c.hex() for c in contents], "gallery": truth.gallery.tolist(),
         "queries": queries}
    )  # fmt: skip


class Kept:
    """The folder; it is made when the first measurement is put there."""

    def __init__(self, folder: str) -> None:
        self.folder = os.path.abspath(folder)

    def _path(self, name: str, key: str) -> str:
        plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:80]
        return os.path.join(self.folder, f"{plain}-{key[:16]}.json")

    def _text(self, name: str, key: str) -> str:
        try:
            with open(self._path(name, key), encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise OperationFailedError(
                f"{visible(self._path(name, key))} cannot be read ({reason}). Remove it, or name "
                "another folder with --output."
            ) from None

    def _write(self, name: str, key: str, text: str) -> None:
        try:
            os.makedirs(self.folder, exist_ok=True)
        except OSError as error:
            raise OperationFailedError(
                f"The folder {visible(self.folder)} cannot be made ({error.strerror}). Name "
                "another one with --output."
            ) from None
        write_whole(self._path(name, key), text.encode())

    def has(self, name: str, key: str) -> bool:
        """Whether there is a file for it, without reading it."""
        return os.path.isfile(self._path(name, key))

    def answers(self, name: str, key: str) -> Answers | None:
        """Raw answers of a system, as `keep_answers` kept them."""
        try:
            found = Answers.from_json(self._text(name, key))
        except UsageError:
            return None
        return found if found.about.get("key") == key else None

    def keep_answers(self, name: str, key: str, answers: Answers) -> Answers:
        """Write a system's answers; what is returned is what `answers` will give."""
        text = replace(answers, about={**answers.about, "key": key}).to_json()
        self._write(name, key, text)
        return Answers.from_json(text)

    def record(self, name: str, key: str) -> dict[str, Any]:
        """A small record, {} where there is none."""
        try:
            found = json.loads(self._text(name, key))
            return dict(found) if found["key"] == key else {}
        except (ValueError, KeyError, TypeError):
            return {}

    def keep_record(self, name: str, key: str, record: Mapping[str, Any]) -> None:
        """Write a small record of plain values."""
        self._write(name, key, json.dumps({**record, "key": key}, indent=1) + "\n")
