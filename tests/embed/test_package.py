"""Saving an embedder and loading it again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cbir.config import EmbedderSpec
from cbir.embed import Embedder, resolve_spec
from cbir.embed.package import CARD, MODEL, README
from cbir.errors import EmbedderError, OperationFailedError, UsageError
from tests.backbones.photos import SAVING, noise
from tests.embed.conftest import TINY


@pytest.fixture
def saved(tiny: Embedder, tmp_path: Path) -> Path:
    folder = tmp_path / "my embedder ü"
    tiny.save(folder)
    return folder


def test_there_and_back(tiny: Embedder, saved: Path) -> None:
    assert sorted(os.listdir(saved)) == [README, CARD, MODEL]
    assert os.listdir(saved.parent) == [saved.name]
    assert resolve_spec(str(saved)) == TINY
    again = Embedder.load(saved)
    assert again.spec == TINY and again.fingerprint == tiny.fingerprint
    assert again.feature_dims == 96
    pixels = noise(3, 32)
    np.testing.assert_allclose(again.features(pixels), tiny.features(pixels), rtol=1e-5, atol=1e-6)
    again.save(saved.parent / "second")
    assert Embedder.load(saved.parent / "second").fingerprint == tiny.fingerprint


@pytest.mark.parametrize(
    ("name", "cut"),
    [("vgg16", "block2_pool"), ("resnet50", "conv2_block1_out"),
     ("densenet121", "pool2_relu"), ("efficientnetb0", "block2b_add"),
     ("convnexttiny", "convnext_tiny_stage_0_block_0_identity"),
     ("xception", "block2_sepconv2_bn"), ("efficientnet-lite0", "")],
)  # fmt: skip
def test_every_kind_of_preprocessing_is_saved(name: str, cut: str, tmp_path: Path) -> None:
    size = 71
    embedder = Embedder.from_spec(EmbedderSpec(name, "random:0", cut=cut, input_size=size))
    embedder.save(tmp_path / "e")
    again = Embedder.load(tmp_path / "e")
    assert again.fingerprint == embedder.fingerprint
    pixels = noise(1, size)
    expected = embedder.features(pixels)
    np.testing.assert_allclose(again.features(pixels), expected, rtol=1e-4, atol=1e-5)


def test_the_fingerprint_is_the_same_in_another_process(tiny: Embedder, saved: Path) -> None:
    code = (
        "import sys, keras\nfrom cbir.embed import Embedder\nfrom cbir.config import EmbedderSpec\n"
        "keras.layers.Conv2D(1, 1); keras.layers.Activation('relu')  # other names after these\n"
        f"made = Embedder.from_spec(EmbedderSpec(**{TINY.to_dict()!r}))\n"
        "print(Embedder.load(sys.argv[1]).fingerprint, made.fingerprint)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(saved)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [tiny.fingerprint] * 2


def test_saving_again_replaces(saved: Path) -> None:
    other = Embedder.from_spec(EmbedderSpec("mobilenetv3small", "random:9", cut="activation_1",
                                            input_size=32))  # fmt: skip
    other.save(saved)
    assert Embedder.load(saved).fingerprint == other.fingerprint
    assert os.listdir(saved.parent) == [saved.name]


def test_a_folder_with_anything_else_is_left_alone(tiny: Embedder, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"dear")
    with pytest.raises(UsageError, match=r"holds photo\.jpg"):
        tiny.save(tmp_path)
    assert photo.read_bytes() == b"dear" and os.listdir(tmp_path) == ["photo.jpg"]


def test_places_that_cannot_be_written(tiny: Embedder, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    with pytest.raises(OperationFailedError, match="cannot be written to"):
        tiny.save(file)
    with pytest.raises(OperationFailedError, match="cannot be written to"):
        tiny.save(file / "below")


def test_folders_beside_are_left_alone(saved: Path) -> None:
    """Whatever they are called: `.new` and `.old` may be somebody's own."""
    beside = [saved.with_name(saved.name + suffix) for suffix in (".new", ".old")]
    for folder in beside:
        folder.mkdir()
        (folder / "photo.jpg").write_bytes(b"dear")
    Embedder.load(saved).save(saved)
    assert [(folder / "photo.jpg").read_bytes() for folder in beside] == [b"dear"] * 2
    assert len(os.listdir(saved.parent)) == 3


def test_a_link_stays_a_link(tiny: Embedder, saved: Path) -> None:
    link = saved.parent / "link"
    link.symlink_to(saved, target_is_directory=True)
    tiny.save(link)
    assert link.is_symlink() and Embedder.load(link).fingerprint == tiny.fingerprint
    assert sorted(os.listdir(saved.parent)) == ["link", saved.name]


def test_a_disk_that_fills_up_leaves_the_old_one(tiny: Embedder, saved: Path) -> None:
    """In a process of its own, which may write no file larger than 20 kB."""
    code = (
        "import resource, signal, sys\nfrom cbir.embed import Embedder\n"
        "from cbir.errors import OperationFailedError\n"
        "made = Embedder.load(sys.argv[1])\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try:\n    made.save(sys.argv[1])\n"
        "except OperationFailedError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(saved)], capture_output=True, text=True, check=True
    )
    assert "cannot be written to" in done.stdout and "File too large" in done.stdout
    assert os.listdir(saved.parent) == [saved.name]
    assert Embedder.load(saved).fingerprint == tiny.fingerprint


def test_others_may_read_what_is_saved(saved: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)
    assert saved.stat().st_mode & 0o777 == 0o777 & ~mask


def test_the_policy_of_the_host_does_not_change_a_saved_one(tiny: Embedder, saved: Path) -> None:
    import keras

    keras.config.set_dtype_policy("mixed_float16")
    try:
        again = Embedder.load(saved)
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_array_equal(again.features(noise(2, 32)), tiny.features(noise(2, 32)))


def test_options_beside_a_saved_embedder_are_refused(saved: Path) -> None:
    for options in (
        {"cut": "x"},
        {"input_size": 64},
        {"input_size": 0},
        {"resize": "pad"},
        {"weights_file": "w"},
    ):
        with pytest.raises(UsageError, match="which has all its settings"):
            resolve_spec(str(saved), **options)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="which has all its settings"):
            Embedder.load(saved, **options)  # type: ignore[arg-type]


def edited(folder: Path, **changes: Any) -> None:
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    card["spec"].update(changes.pop("spec", {}))
    (folder / CARD).write_text(json.dumps({**card, **changes}), encoding="utf-8")


def test_other_weights_in_the_folder_are_found_out(saved: Path, tmp_path: Path) -> None:
    other = Embedder.from_spec(EmbedderSpec("mobilenetv3small", "random:9", cut="activation_2",
                                            input_size=32))  # fmt: skip
    other.save(tmp_path / "other")
    (tmp_path / "other" / MODEL).replace(saved / MODEL)
    with pytest.raises(EmbedderError, match="changed or damaged"):
        Embedder.load(saved)


def test_other_settings_in_the_folder_are_found_out(saved: Path) -> None:
    edited(saved, spec={"resize": "pad"})
    with pytest.raises(EmbedderError, match="changed or damaged"):
        Embedder.load(saved)


def test_a_newer_format_is_refused(saved: Path) -> None:
    edited(saved, version=2)
    with pytest.raises(EmbedderError, match="has format 2; this cbir reads 1"):
        Embedder.load(saved)
    edited(saved, version=1, spec={"sharpness": 3})
    with pytest.raises(EmbedderError, match=r"embedder\.json: .*also sharpness.*update cbir"):
        Embedder.load(saved)


@pytest.mark.parametrize(
    "changes",
    [{"spec": None}, {"spec": []}, {"spec": "x"}, {"fingerprint": None}, {"fingerprint": 3},
     {"spec": {"backbone": 3}}, {"spec": {"input_size": "32"}}, {"spec": {"input_size": 32.0}},
     {"spec": {"input_size": 2}}, {"spec": {"cut": ["a"]}}, {"spec": {"resize": "stretch"}}],
    ids=str,
)  # fmt: skip
def test_a_card_of_other_types_is_refused(saved: Path, changes: dict[str, Any]) -> None:
    card = json.loads((saved / CARD).read_text(encoding="utf-8"))
    (saved / CARD).write_text(json.dumps({**card, **changes}), encoding="utf-8")
    for load in (Embedder.load, resolve_spec):
        with pytest.raises(EmbedderError, match=r"embedder\.json"):
            load(str(saved))


@pytest.mark.parametrize("card", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"version": 1}'])
def test_a_damaged_card_is_refused(saved: Path, card: bytes) -> None:
    (saved / CARD).write_bytes(card)
    with pytest.raises(EmbedderError, match="holds no embedder"):
        Embedder.load(saved)


def test_a_damaged_model_is_refused(saved: Path) -> None:
    whole = (saved / MODEL).read_bytes()
    for bad in (b"", b"text", whole[: len(whole) // 2]):
        (saved / MODEL).write_bytes(bad)
        with pytest.raises(EmbedderError, match="cannot be loaded as a Keras model"):
            Embedder.load(saved)
    (saved / MODEL).unlink()
    with pytest.raises(EmbedderError, match="cannot be loaded as a Keras model"):
        Embedder.load(saved)


@SAVING
def test_a_model_that_would_run_code_is_refused(saved: Path, tmp_path: Path) -> None:
    import keras

    mark = tmp_path / "it-ran"
    program = f"lambda x: (__import__('pathlib').Path({str(mark)!r}).touch(), x)[1]"
    start = keras.Input((32, 32, 3), dtype="uint8")
    keras.Model(start, keras.layers.Lambda(eval(program))(start)).save(saved / MODEL)
    mark.unlink()
    with pytest.raises(EmbedderError, match="cannot be loaded as a Keras model"):
        Embedder.load(saved)
    assert not mark.exists()


@SAVING
def test_other_ways_to_run_code_are_refused(saved: Path, tmp_path: Path) -> None:
    """The older HDF5 form under the same name, and classes that are no layers."""
    import zipfile

    import keras

    start = keras.Input((32, 32, 3), dtype="uint8")
    keras.Model(start, keras.layers.Lambda(lambda x: x)(start)).save(tmp_path / "old.h5")
    whole = (saved / MODEL).read_bytes()
    (saved / MODEL).write_bytes((tmp_path / "old.h5").read_bytes())
    with pytest.raises(EmbedderError, match="cannot be loaded as a Keras model"):
        Embedder.load(saved)
    mark = tmp_path / "it-ran"
    (saved / MODEL).write_bytes(whole)
    for module, name, arguments in (
        ("os", "system", {"command": f"touch {mark}"}),
        ("builtins", "exec", {"source": f"open({str(mark)!r}, 'w')"}),
        ("pathlib", "Path.touch", {"self": str(mark)}),
    ):
        with zipfile.ZipFile(saved / MODEL) as archive:
            parts = {entry: archive.read(entry) for entry in archive.namelist()}
        config = json.loads(parts["config.json"])
        config["config"]["layers"][1].update(module=module, class_name=name, config=arguments)
        parts["config.json"] = json.dumps(config).encode()
        with zipfile.ZipFile(saved / MODEL, "w") as archive:
            for entry, data in parts.items():
                archive.writestr(entry, data)
        with pytest.raises(EmbedderError, match="cannot be loaded as a Keras model"):
            Embedder.load(saved)
        assert not mark.exists()


def test_what_was_learned_from_comes_back(tiny: Embedder, tmp_path: Path) -> None:
    learned = frozenset(bytes([i]) * 16 for i in range(5))
    tiny.save(tmp_path / "made", learned=learned)
    again = Embedder.load(tmp_path / "made")
    assert again.learned == learned and again.fingerprint == tiny.fingerprint
    again.save(tmp_path / "copy")
    assert Embedder.load(tmp_path / "copy").learned == learned
    again.save(tmp_path / "copy", learned=frozenset())  # an embedder there is replaced as a whole
    assert not (tmp_path / "copy" / "learned.bin").exists()
    (tmp_path / "made" / "learned.bin").write_bytes(b"x" * 17)
    with pytest.raises(EmbedderError, match="expected hashes of 16 bytes"):
        Embedder.load(tmp_path / "made")
