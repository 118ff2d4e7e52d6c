"""A saved embedder: a folder with `embedder.json`, `model.keras` and `README.md`; `learned.bin`
(contents of the pictures that it learned from) where it was trained.

Safe formats only: JSON, and Keras' own in its safe mode, which runs no code of the file.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
import warnings
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from cbir.config import EmbedderSpec
from cbir.embed.card import ModelCard, readme
from cbir.errors import EmbedderError, OperationFailedError, UsageError

if TYPE_CHECKING:
    import keras

    from cbir.embed.runtimes.quantise import Quantised

VERSION = 1
CARD = "embedder.json"
MODEL = "model.keras"
README = "README.md"
LEARNED = "learned.bin"
QUANTISED = ("int8.xml", "int8.bin")
CONTENT = 16
"""Bytes of a content's hash."""
KEYS = {"version", "fingerprint", "feature_dims", "parameters", "spec", "made_with",
        "training"}  # fmt: skip


def read_card(folder: str) -> ModelCard | None:
    """The model card of a saved embedder; None where it has none.

    Raises EmbedderError where the folder holds no embedder, or the card has other keys.
    """
    return _card(folder, read_description(folder))


def _card(folder: str, description: dict[str, Any]) -> ModelCard | None:
    training = description.get("training")
    if training is None:
        return None
    try:
        if not isinstance(training, dict):
            raise UsageError(f"training: expected an object; received {training!r}.")
        return ModelCard.from_dict(training)
    except UsageError as error:
        raise EmbedderError(f"{os.path.join(folder, CARD)}: {error}") from None


def read_description(folder: str) -> dict[str, Any]:
    """What `embedder.json` says; EmbedderError where it cannot be read or is of a newer format."""
    path = os.path.join(folder, CARD)
    try:
        with open(path, encoding="utf-8") as file:
            card = json.load(file)
        version = card["version"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise _none_there(folder) from None
    if version != VERSION:
        raise EmbedderError(f"{path} has format {version}; this cbir reads {VERSION}. Update cbir.")
    unknown = sorted(set(card) - KEYS)
    if unknown:
        raise EmbedderError(
            f"{path}: expected the keys {', '.join(sorted(KEYS))}; received also "
            f"{', '.join(unknown)}. It was perhaps written by a newer cbir: update cbir."
        )
    numbers = [card.get(name, 0) for name in ("feature_dims", "parameters")]
    if (
        not isinstance(card.get("spec"), dict)
        or not isinstance(card.get("fingerprint"), str)
        or not all(isinstance(number, int) for number in numbers)
    ):
        raise _none_there(folder)
    return dict(card)


def _none_there(folder: str) -> EmbedderError:
    return EmbedderError(
        f"{folder} holds no embedder: expected {CARD} and {MODEL} as `Embedder.save` writes them."
    )


def read_spec(folder: str) -> EmbedderSpec:
    """The settings of a saved embedder, without loading Keras."""
    return _spec(folder, read_description(folder))


def _spec(folder: str, card: dict[str, Any]) -> EmbedderSpec:
    try:
        spec = EmbedderSpec.from_dict(card["spec"])
    except UsageError as error:
        raise EmbedderError(f"{os.path.join(folder, CARD)}: {error}") from None
    kinds = {field.name: type(field.default) for field in fields(EmbedderSpec)}
    if any(type(getattr(spec, name)) is not kind for name, kind in kinds.items()):
        raise _none_there(folder)
    return spec


@dataclass(frozen=True, slots=True, eq=False)
class Package:
    """What a folder holds: settings, model, the fingerprint that it should have, its card, and the
    contents (hashes of 16 bytes) of the pictures that it learned from."""

    spec: EmbedderSpec
    model: keras.Model
    fingerprint: str
    card: ModelCard | None
    learned: frozenset[bytes] = frozenset()
    quantised: Quantised | None = None


def load_package(folder: str) -> Package:
    """A saved embedder from its folder; EmbedderError where it is damaged."""
    description = read_description(folder)
    spec, card = _spec(folder, description), _card(folder, description)
    import keras

    from cbir.backbones.applications import custom_objects

    path = os.path.join(folder, MODEL)
    try:
        model = keras.saving.load_model(
            path, custom_objects=custom_objects(), compile=False, safe_mode=True
        )
    except Exception as error:  # zipfile, h5py, Keras: each has its own
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EmbedderError(f"{path} cannot be loaded as a Keras model: {line}") from None
    return Package(spec, model, str(description["fingerprint"]), card, read_learned(folder),
                   read_quantised(folder, spec))  # fmt: skip


def read_quantised(folder: str, spec: EmbedderSpec) -> Quantised | None:
    """The quantised network of a saved embedder; None where its precision needs none.

    Raises EmbedderError where it is missing, or is another than the settings name.
    """
    if not spec.quantised:
        return None
    from cbir.embed.runtimes.quantise import Quantised

    try:
        parts = []
        for name in QUANTISED:
            with open(os.path.join(folder, name), "rb") as file:
                parts.append(file.read())
    except OSError as error:
        raise EmbedderError(
            f"{os.path.join(folder, QUANTISED[0])} cannot be read ({error.strerror or error}); an "
            "embedder of int8 needs it. Restore the folder."
        ) from None
    found = Quantised(*parts)
    if found.digest != spec.quantised:
        raise EmbedderError(
            f"{folder}: expected the quantised network {spec.quantised}; its files give "
            f"{found.digest}. They were changed or damaged: restore them."
        )
    return found


def read_learned(folder: str) -> frozenset[bytes]:
    """The contents of the pictures that a saved embedder learned from; none where it does not say.

    Raises EmbedderError where the file is torn.
    """
    path = os.path.join(folder, LEARNED)
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:  # it was not trained, or by an older cbir
        return frozenset()
    except OSError as error:
        raise EmbedderError(f"{path} cannot be read ({error.strerror or error}).") from None
    if len(data) % CONTENT:
        raise EmbedderError(
            f"{path}: expected hashes of {CONTENT} bytes; received {len(data):,} bytes. The file "
            "is torn: restore it, or remove it."
        )
    return frozenset(data[i : i + CONTENT] for i in range(0, len(data), CONTENT))


def save_package(folder: str, package: Package) -> None:
    """Write beside, flush, rename.

    Raises UsageError where the folder holds anything but an embedder, OperationFailedError where
    the disk refuses; an embedder that was there stays then.
    """
    import keras

    import cbir

    folder = os.path.realpath(folder)
    check_free(folder)
    card = package.card
    description = {
        "version": VERSION,
        "fingerprint": package.fingerprint,
        "feature_dims": int(package.model.output_shape[-1]),
        "parameters": int(package.model.count_params()),
        "spec": package.spec.to_dict(),
        "made_with": {"cbir": cbir.__version__, "keras": keras.version()},
        **({} if card is None else {"training": card.to_dict()}),
    }
    beside = f"{folder}.{uuid.uuid4().hex}"  # a name that nobody's folder has
    try:
        os.makedirs(beside)
        _write(beside, description, package)
        _put(beside, folder)
    except OSError as error:
        raise OperationFailedError(
            f"The embedder cannot be written to {folder} ({error.strerror or error})."
        ) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _write(folder: str, description: dict[str, Any], package: Package) -> None:
    with warnings.catch_warnings():  # TensorFlow's variables lag behind NumPy 2
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        package.model.save(os.path.join(folder, MODEL))
    with open(os.path.join(folder, CARD), "w", encoding="utf-8") as file:
        json.dump(description, file, indent=2)
        file.write("\n")
    with open(os.path.join(folder, README), "w", encoding="utf-8") as file:
        file.write(readme(package.spec, package.fingerprint, description["feature_dims"],
                          description["made_with"], package.card))  # fmt: skip
    names = [MODEL, CARD, README]
    if package.learned:
        names.append(LEARNED)
        with open(os.path.join(folder, LEARNED), "wb") as learned:
            learned.write(b"".join(sorted(package.learned)))
    if package.quantised is not None:
        names += QUANTISED
        parts = (package.quantised.xml, package.quantised.weights)
        for name, data in zip(QUANTISED, parts, strict=True):
            with open(os.path.join(folder, name), "wb") as quantised:
                quantised.write(data)
    for name in names:
        with open(os.path.join(folder, name), "rb+") as written:
            os.fsync(written.fileno())


def _put(beside: str, folder: str) -> None:
    """Rename the new folder to its place; what was there comes back where that fails."""
    if not os.path.isdir(folder):
        os.replace(beside, folder)
        return
    old = beside + ".old"
    os.replace(folder, old)
    try:
        os.replace(beside, folder)
    except OSError:
        os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def check_free(folder: str) -> None:
    """Nobody's pictures are replaced by an embedder."""
    try:
        there = set(os.listdir(folder))
        # a README alone is somebody's
        ours = {CARD, MODEL, README, LEARNED, *QUANTISED} if CARD in there else {MODEL}
        others = sorted(there - ours)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OperationFailedError(
            f"The embedder cannot be written to {folder} ({error.strerror})."
        ) from None
    if others:
        raise UsageError(
            f"embedder: expected a folder that is new, empty or holds an embedder; {folder} holds "
            f"{others[0]}. Name another one."
        )
