"""A saved embedder: a folder with `embedder.json` and `model.keras`, in safe formats only."""

from __future__ import annotations

import json
import os
import shutil
import uuid
import warnings
from typing import TYPE_CHECKING, Any

from cbir.config import EmbedderSpec
from cbir.errors import EmbedderError, OperationFailedError, UsageError

if TYPE_CHECKING:
    import keras

VERSION = 1
CARD = "embedder.json"
MODEL = "model.keras"


def read_card(folder: str) -> dict[str, Any]:
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
    if not isinstance(card.get("spec"), dict) or not isinstance(card.get("fingerprint"), str):
        raise _none_there(folder)
    return dict(card)


def _none_there(folder: str) -> EmbedderError:
    return EmbedderError(
        f"{folder} holds no embedder: expected {CARD} and {MODEL} as `Embedder.save` writes them."
    )


def read_spec(folder: str) -> EmbedderSpec:
    """The settings of a saved embedder, without loading Keras."""
    return _spec(folder, read_card(folder))


def _spec(folder: str, card: dict[str, Any]) -> EmbedderSpec:
    try:
        spec = EmbedderSpec.from_dict(card["spec"])
    except UsageError as error:
        raise EmbedderError(f"{os.path.join(folder, CARD)}: {error}") from None
    if [type(value) for value in spec.to_dict().values()] != [
        type(value) for value in EmbedderSpec().to_dict().values()
    ]:
        raise _none_there(folder)
    return spec


def load_package(folder: str) -> tuple[EmbedderSpec, keras.Model, str]:
    """Settings, model and fingerprint of a saved embedder; EmbedderError where it is damaged."""
    card = read_card(folder)
    spec = _spec(folder, card)
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
    return spec, model, str(card["fingerprint"])


def save_package(folder: str, spec: EmbedderSpec, model: keras.Model, fingerprint: str) -> None:
    """Write beside, flush, rename.

    Raises UsageError where the folder holds anything but an embedder, OperationFailedError where
    the disk refuses; an embedder that was there stays then.
    """
    import keras

    import cbir

    folder = os.path.realpath(folder)
    check_free(folder)
    card = {
        "version": VERSION,
        "fingerprint": fingerprint,
        "feature_dims": int(model.output_shape[-1]),
        "spec": spec.to_dict(),
        "made_with": {"cbir": cbir.__version__, "keras": keras.version()},
    }
    beside = f"{folder}.{uuid.uuid4().hex}"  # a name that nobody's folder has
    try:
        os.makedirs(beside)
        _write(beside, card, model)
        _put(beside, folder)
    except OSError as error:
        raise OperationFailedError(
            f"The embedder cannot be written to {folder} ({error.strerror or error})."
        ) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _write(folder: str, card: dict[str, Any], model: keras.Model) -> None:
    with warnings.catch_warnings():  # TensorFlow's variables lag behind NumPy 2
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        model.save(os.path.join(folder, MODEL))
    with open(os.path.join(folder, CARD), "w", encoding="utf-8") as file:
        json.dump(card, file, indent=2)
        file.write("\n")
    for name in (MODEL, CARD):
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
        others = sorted(set(os.listdir(folder)) - {CARD, MODEL})
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
