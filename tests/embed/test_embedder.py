"""The embedder: its answers, its fingerprint, what it refuses."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cbir.config import EmbedderSpec
from cbir.embed import Embedder, fingerprint, resolve_spec
from cbir.errors import EmbedderError, ImageError, UsageError, WeightsError
from tests.backbones.photos import SAVING, noise, photo
from tests.embed.conftest import TINY

GOLDEN = Path(__file__).parent / "golden_lite0_chelsea.npy"
STOCK = "2d05d964d6c708526ba0267fec0a1ca1"
"""The default embedder's fingerprint: every index that it made holds it."""


def test_the_default_embedder_gives_what_it_always_gave(lite0: Embedder) -> None:
    found = lite0.features(photo("chelsea.png", 224))[0]
    golden = np.load(GOLDEN)
    assert found.shape == golden.shape == (1280,) and found.dtype == np.float32
    cosine = found @ golden / np.linalg.norm(found) / np.linalg.norm(golden)
    assert cosine >= 0.9999
    np.testing.assert_allclose(found, golden, atol=1e-3)


def test_the_default_embedder_is_the_one_it_always_was(lite0: Embedder) -> None:
    assert lite0.fingerprint == STOCK
    assert lite0.spec == EmbedderSpec() and lite0.feature_dims == 1280 and lite0.is_stock


def test_a_cat_is_nearer_to_the_same_cat_than_to_coffee(lite0: Embedder) -> None:
    cat, coffee = photo("chelsea.png", 224), photo("coffee.png", 224)
    features = lite0.features(np.concatenate([cat, cat[:, :, ::-1], coffee]))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > 0.9 > 0.5 > unit[0] @ unit[2]


def test_the_order_of_the_channels_counts(lite0: Embedder) -> None:
    golden = np.load(GOLDEN)
    swapped = lite0.features(photo("chelsea.png", 224)[..., ::-1])[0]
    assert swapped @ golden / np.linalg.norm(swapped) / np.linalg.norm(golden) < 0.98


# -- what it takes --------------------------------------------------------------------------------


def test_no_images(tiny: Embedder) -> None:
    assert tiny.features(noise(0, 32)).shape == (0, 96)


@pytest.mark.parametrize(
    "pixels",
    [
        noise(1, 31),
        noise(1, 32)[0],
        noise(1, 32)[..., :1],
        noise(1, 32).astype(np.float32),
        np.zeros((1, 3, 32, 32), np.uint8),
    ],
)
def test_other_arrays_are_refused(tiny: Embedder, pixels: np.ndarray) -> None:
    with pytest.raises(UsageError, match=r"expected uint8 \(n, 32, 32, 3\)"):
        tiny.features(pixels)


def test_features_that_are_not_finite_are_refused() -> None:
    broken = Embedder.from_spec(TINY)
    kernel = broken.model.weights[0]
    kernel.assign(np.full(kernel.shape, np.nan, np.float32))
    with pytest.raises(EmbedderError, match="not finite"):
        broken.features(noise(1, 32))


def test_embed_takes_pictures_of_every_kind(tiny: Embedder, tmp_path: Path) -> None:
    image = Image.fromarray(noise(1, 40)[0])
    file, out = tmp_path / "a.png", io.BytesIO()
    image.save(file)
    image.save(out, "PNG")
    rows = tiny.embed([file, str(file), out.getvalue(), image, np.asarray(image)])
    assert rows.shape == (5, 96) and rows.dtype == np.float32
    np.testing.assert_allclose(rows, rows[:1].repeat(5, axis=0), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert tiny.embed([]).shape == (0, 96)


def test_embed_says_which_picture_is_bad(tiny: Embedder, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    with pytest.raises(ImageError):
        tiny.embed([bad])


@pytest.mark.parametrize("one", ["cat.jpg", b"\xff\xd8", Path("cat.jpg")])
def test_one_picture_that_is_in_no_list(tiny: Embedder, one: str | bytes | Path) -> None:
    with pytest.raises(UsageError, match=r"expected a list of pictures.*embed\(\[image\]\)"):
        tiny.embed(one)  # type: ignore[arg-type]


def test_embedding_is_preparing_and_unit_length(lite0: Embedder) -> None:
    from cbir.images import prepare

    image = photo("coffee.png", 300)[0]
    pixels = prepare(image, lite0.spec).pixels
    assert pixels is not None
    features = lite0.features(pixels[None])
    expected = features / np.linalg.norm(features)
    np.testing.assert_allclose(lite0.embed([image]), expected, atol=1e-6)


# -- its fingerprint ------------------------------------------------------------------------------


def test_the_same_embedder_has_the_same_fingerprint(tiny: Embedder) -> None:
    again = Embedder.from_spec(TINY)
    assert again.fingerprint == tiny.fingerprint
    assert len(tiny.fingerprint) == 32 and int(tiny.fingerprint, 16) >= 0


@pytest.mark.parametrize(
    "change",
    [{"resize": "pad"}, {"decoding": "other-1"}, {"weights": "random:1"}, {"input_size": 33}],
    ids=str,
)
def test_other_settings_have_another_fingerprint(tiny: Embedder, change: dict[str, str]) -> None:
    other = dataclasses.replace(TINY, **change)
    assert fingerprint(other, tiny.model) != tiny.fingerprint


def test_every_array_counts() -> None:
    embedder = Embedder.from_spec(TINY)
    seen = {embedder.fingerprint}
    for i, weight in enumerate(embedder.model.weights):
        values = np.array(weight.numpy())
        values.flat[-1] += np.float32(0.25)
        weight.assign(values)
        seen.add(fingerprint(TINY, embedder.model))
        assert len(seen) == i + 2, weight.path


# -- making one -----------------------------------------------------------------------------------


def test_resolve_spec() -> None:
    assert resolve_spec("efficientnet-lite0") == EmbedderSpec()
    found = resolve_spec("EfficientNetB1", cut="top_conv", resize="crop")
    assert found == EmbedderSpec("efficientnetb1", cut="top_conv", input_size=240, resize="crop")
    assert resolve_spec("vgg16", input_size=96).input_size == 96


def test_settings_cost_no_keras() -> None:
    code = (
        "import sys\nfrom cbir.embed import resolve_spec\nfrom cbir.backbones import model_table\n"
        "resolve_spec('resnet50'), model_table()\n"
        "heavy = {'keras', 'tensorflow', 'torch', 'jax'}\nprint(heavy & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_resolve_spec_refuses(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="received 'vgg17'"):
        resolve_spec("vgg17")
    with pytest.raises(UsageError, match="there is none at"):
        resolve_spec("vgg16", weights_file=str(tmp_path / "none.h5"))
    with pytest.raises(EmbedderError, match="holds no embedder"):
        resolve_spec(str(tmp_path))
    with pytest.raises(UsageError, match="input_size: expected 8 to 4096 pixels; received 0"):
        resolve_spec("vgg16", input_size=0)


@SAVING
def test_weights_from_a_file(tiny: Embedder, tmp_path: Path) -> None:
    from cbir.backbones import backbone

    whole = EmbedderSpec("mobilenetv3small", "random:3", input_size=32)
    file = str(tmp_path / "own.weights.h5")
    backbone(whole).save_weights(file)
    loaded = Embedder.load("MobileNetV3Small", weights_file=file, input_size=32)
    assert loaded.spec == dataclasses.replace(whole, weights="file") and not loaded.is_stock
    expected = Embedder.from_spec(whole)
    assert expected.is_stock
    pixels = noise(2, 32)
    np.testing.assert_allclose(
        loaded.features(pixels), expected.features(pixels), rtol=1e-4, atol=1e-5
    )
    with pytest.raises(WeightsError):
        Embedder.load("mobilenetv3large", weights_file=file)
