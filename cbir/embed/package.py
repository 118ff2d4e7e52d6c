"""A saved embedder: a folder with `embedder.json` and `model.keras`, in safe formats only."""

from __future__ import annotations

import json
import os
import shutil
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
        version, _, _ = card["version"], card["spec"], card["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        raise EmbedderError(
            f"{folder} holds no embedder: expected {CARD} and {MODEL} as `Embedder.save` writes "
            "them."
        ) from None
    if version != VERSION:
        raise EmbedderError(f"{path} has format {version}; this cbir reads {VERSION}. Update cbir.")
    return dict(card)


def read_spec(folder: str) -> EmbedderSpec:
    """The settings of a saved embedder, without loading Keras."""
    return EmbedderSpec.from_dict(read_card(folder)["spec"])


def load_package(folder: str) -> tuple[EmbedderSpec, keras.Model, str]:
    """Settings, model and fingerprint of a saved embedder; EmbedderError where it is damaged."""
    card = read_card(folder)
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
    return EmbedderSpec.from_dict(card["spec"]), model, str(card["fingerprint"])


def save_package(folder: str, spec: EmbedderSpec, model: keras.Model, fingerprint: str) -> None:
    """Write beside, flush, rename.

    Raises UsageError where the folder holds anything but an embedder, OperationFailedError where
    the disk refuses; an embedder that was there stays then.
    """
    import keras

    import cbir

    folder = os.path.abspath(folder)
    _check_free(folder)
    beside, old = folder + ".new", folder + ".old"
    card = {
        "version": VERSION,
        "fingerprint": fingerprint,
        "feature_dims": int(model.output_shape[-1]),
        "spec": spec.to_dict(),
        "made_with": {"cbir": cbir.__version__, "keras": keras.version()},
    }
    try:
        for left in (beside, old):
            shutil.rmtree(left, ignore_errors=True)
        os.makedirs(beside)
        with warnings.catch_warnings():  # TensorFlow's variables lag behind NumPy 2
            warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
            model.save(os.path.join(beside, MODEL))
        with open(os.path.join(beside, CARD), "w", encoding="utf-8") as file:
            json.dump(card, file, indent=2)
            file.write("\n")
        for name in (MODEL, CARD):
            with open(os.path.join(beside, name), "rb+") as file_:
                os.fsync(file_.fileno())
        if os.path.isdir(folder):
            os.replace(folder, old)
        os.replace(beside, folder)
    except OSError as error:
        raise OperationFailedError(
            f"The embedder cannot be written to {folder} ({error.strerror or error})."
        ) from None
    shutil.rmtree(old, ignore_errors=True)


def _check_free(folder: str) -> None:
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
