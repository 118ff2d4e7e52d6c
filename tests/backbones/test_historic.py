"""The historic networks against the papers: shapes and parameters, typed from their tables."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cbir.backbones import backbone, cuts, get, model_table
from cbir.backbones.applications import preprocess
from cbir.backbones.googlenet import MODULES
from cbir.backbones.historic import HISTORIC, build
from cbir.config import EmbedderSpec
from cbir.errors import EmbedderError, WeightsError
from tests.backbones.photos import SAVING, noise

SHAPES: dict[str, list[tuple[str, tuple[int, ...]]]] = {
    # LeCun et al. 1998, section II.B and figure 2
    "lenet5": [("c1", (28, 28, 6)), ("s2", (14, 14, 6)), ("c3", (10, 10, 16)), ("s4", (5, 5, 16)),
               ("c5", (1, 1, 120)), ("f6", (84,))],
    # Krizhevsky et al. 2012, figure 2: 55, 27, 13, 13, 13; 186,624, 64,896, 64,896, 43,264 neurons
    "alexnet": [("conv1", (55, 55, 96)), ("conv2", (27, 27, 256)), ("conv3", (13, 13, 384)),
                ("conv4", (13, 13, 384)), ("conv5", (13, 13, 256)), ("fc6", (4096,)),
                ("fc7", (4096,))],
    # Zeiler and Fergus 2014, figure 3
    "zfnet": [("conv1", (110, 110, 96)), ("pool1", (55, 55, 96)), ("conv2", (26, 26, 256)),
              ("pool2", (13, 13, 256)), ("conv3", (13, 13, 384)), ("conv4", (13, 13, 384)),
              ("conv5", (13, 13, 256)), ("pool5", (6, 6, 256)), ("fc6", (4096,)),
              ("fc7", (4096,))],
    # Szegedy et al. 2015, table 1, column "output size"
    "googlenet": [("conv1", (112, 112, 64)), ("pool1", (56, 56, 64)), ("conv2", (56, 56, 192)),
                  ("pool2", (28, 28, 192)), ("inception3a", (28, 28, 256)),
                  ("inception3b", (28, 28, 480)), ("pool3", (14, 14, 480)),
                  ("inception4a", (14, 14, 512)), ("inception4b", (14, 14, 512)),
                  ("inception4c", (14, 14, 512)), ("inception4d", (14, 14, 528)),
                  ("inception4e", (14, 14, 832)), ("pool4", (7, 7, 832)),
                  ("inception5a", (7, 7, 832)), ("inception5b", (7, 7, 1024))],
    # He et al. 2016, table 1, 18-layer
    "resnet18": [("conv1", (112, 112, 64)), ("conv2_2", (56, 56, 64)), ("conv3_2", (28, 28, 128)),
                 ("conv4_2", (14, 14, 256)), ("conv5_2", (7, 7, 512))],
    # He et al. 2016, section 4.2: 32, 16, 8 px with 16, 32, 64 filters, 2n layers each
    "resnet20": [("conv2_3", (32, 32, 16)), ("conv3_3", (16, 16, 32)), ("conv4_3", (8, 8, 64))],
    "se-resnet18": [("conv2_2", (56, 56, 64)), ("conv5_2", (7, 7, 512))],
    # Hu et al. 2018, table 1, SE-ResNet-50: outputs, and fc [16, 256] ... [128, 2048]
    "se-resnet50": [("conv1", (112, 112, 64)), ("conv2_3", (56, 56, 256)),
                    ("conv2_3_se_reduce", (1, 1, 16)), ("conv2_3_se_excite", (1, 1, 256)),
                    ("conv3_4", (28, 28, 512)), ("conv3_4_se_reduce", (1, 1, 32)),
                    ("conv4_6", (14, 14, 1024)), ("conv4_6_se_reduce", (1, 1, 64)),
                    ("conv5_3", (7, 7, 2048)), ("conv5_3_se_reduce", (1, 1, 128)),
                    ("conv5_3_se_excite", (1, 1, 2048))],
}  # fmt: skip

TRAINED = {
    # name: classes, parameters that are trained, with the classifier
    "lenet5": (10, 61_706),  # 156 + 2,416 (all of S2 for each map of C3) + 48,120 + 10,164 + 850
    "alexnet": (1000, 60_965_224),  # "60 million parameters" (abstract)
    "zfnet": (1000, 62_357_608),
    "googlenet": (1000, 6_998_552),
    "resnet18": (1000, 11_689_512),
    "resnet20": (10, 269_722),  # ".27M" (table 6)
    "se-resnet18": (1000, 11_778_592),
    "se-resnet50": (1000, 28_088_024),  # 25.6 million of ResNet-50 and 2.5 million (section 5)
}


@functools.cache
def net(name: str) -> Any:
    """A whole network at its own size, built once."""
    return build(name, HISTORIC[name].size, None)


def size_of(variables: Any) -> int:
    return sum(math.prod(v.shape) for v in variables)


def test_every_network_has_its_table_here() -> None:
    assert set(SHAPES) == set(TRAINED) == set(HISTORIC)


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_those_of_the_paper(name: str) -> None:
    for layer, shape in SHAPES[name]:
        assert net(name).get_layer(layer).output.shape[1:] == shape, layer


@pytest.mark.parametrize("name", TRAINED)
def test_parameters_are_those_of_the_paper(name: str) -> None:
    classes, expected = TRAINED[name]
    dims = net(name).output_shape[-1]
    assert size_of(net(name).trainable_variables) + dims * classes + classes == expected
    assert dims == get(name).feature_dims
    assert net(name).count_params() == get(name).parameters


LAYERS = {
    # LeCun et al. 1998, section II.B (C3: with all maps of S2)
    "lenet5": {"c1": 156, "c3": 2_416, "c5": 48_120, "f6": 10_164},
    # Krizhevsky et al. 2012, section 3.5: kernels 11x11x3, 5x5x48, 3x3x256, 3x3x192, 3x3x192
    "alexnet": {"conv1": 96 * 11 * 11 * 3 + 96, "conv2": 256 * 5 * 5 * 48 + 256,
                "conv3": 384 * 3 * 3 * 256 + 384, "conv4": 384 * 3 * 3 * 192 + 384,
                "conv5": 256 * 3 * 3 * 192 + 256},
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_parameters_layer_by_layer(name: str) -> None:
    for layer, expected in LAYERS[name].items():
        assert net(name).get_layer(layer).count_params() == expected, layer


@pytest.mark.parametrize(
    ("module", "thousands"),
    [("3a", 159), ("3b", 380), ("4a", 364), ("4b", 437), ("4c", 463), ("4d", 580), ("4e", 840),
     ("5a", 1072), ("5b", 1388)],
)  # fmt: skip
def test_inception_modules_have_about_the_parameters_of_table_1(
    module: str, thousands: int
) -> None:
    """The column "params" counts in 1024 and does not follow from the widths exactly: to 8 %."""
    prefix = f"inception{module}_"
    made = [layer for layer in net("googlenet").layers if layer.name.startswith(prefix)]
    kernels = size_of([layer.weights[0] for layer in made if layer.weights])
    assert abs(kernels / 1024 / thousands - 1) < 0.08
    assert len([layer for layer in made if layer.weights]) == 6
    one, _, three, _, five, projected = MODULES[module]
    assert net("googlenet").get_layer(f"inception{module}").output.shape[-1] == (
        one + three + five + projected
    )


def test_local_response_normalisation_is_where_the_papers_have_it() -> None:
    for name, before in (
        ("alexnet", ["conv1", "conv2"]),
        ("zfnet", ["pool1", "pool2"]),
        ("googlenet", ["pool1", "conv2"]),
    ):
        order = [layer.name for layer in net(name).layers]
        norms = [i for i, one in enumerate(order) if one.startswith("norm")]
        assert [order[i - 1] for i in norms] == before


def test_a_bottleneck_has_its_stride_in_the_first_convolution() -> None:
    strided = {
        layer.name
        for layer in net("se-resnet50").layers
        if type(layer).__name__ == "Conv2D" and layer.strides == (2, 2)
    }
    assert strided == {"conv1", *(f"conv{s}_1_{k}" for s in (3, 4, 5) for k in
                                  ("conv1", "shortcut"))}  # fmt: skip


def test_initial_weights_of_alexnet_are_the_papers() -> None:
    """Section 5: deviation .01; biases 1 in conv2, conv4, conv5 and the fully connected layers."""
    for layer in net("alexnet").layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            assert abs(kernel.std() - 0.01) < 2e-4
            ones = layer.name in ("conv2", "conv4", "conv5", "fc6", "fc7")
            assert (bias == (1 if ones else 0)).all(), layer.name


@pytest.mark.parametrize(
    ("mode", "black", "white"),
    [("lenet", [-0.1] * 3, [1.175] * 3),
     ("mean", [-123.68, -116.779, -103.939], [131.32, 138.221, 151.061])],
)  # fmt: skip
def test_preprocessing(mode: str, black: list[float], white: list[float]) -> None:
    import keras

    start = keras.Input((1, 2, 3), dtype="uint8")
    model = keras.Model(start, preprocess(mode, start))
    found = np.asarray(model(np.array([[[[0] * 3, [255] * 3]]], np.uint8)))
    np.testing.assert_allclose(found[0, 0], [black, white], rtol=1e-5)


@pytest.mark.parametrize("name", ["lenet5", "alexnet", "zfnet"])
def test_an_input_that_is_too_small(name: str) -> None:
    with pytest.raises(EmbedderError, match=f"{name} at 24 px: expected a larger input"):
        build(name, 24, None)


def test_a_small_input_where_it_fits() -> None:
    assert build("googlenet", 32, None).output_shape == (None, 1, 1, 1024)


def test_there_are_no_published_weights() -> None:
    rows = {row["name"]: row for row in model_table()}
    for name in HISTORIC:
        assert rows[name]["weights"] == "train"
        with pytest.raises(WeightsError, match=f"cbir train --backbone {name} FOLDER"):
            backbone(EmbedderSpec(name, input_size=HISTORIC[name].size))


@SAVING
def test_weights_through_a_file(tmp_path: Path) -> None:
    file = str(tmp_path / "own.weights.h5")
    source = backbone(EmbedderSpec("resnet20", "random:4", input_size=32))
    source.save_weights(file)
    found = backbone(EmbedderSpec("resnet20", "file", input_size=32), file)
    for a, b in zip(source.get_weights(), found.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(WeightsError, match="expected weights of lenet5"):
        backbone(EmbedderSpec("lenet5", "file", input_size=32), file)


def test_cuts_of_lenet() -> None:
    assert dict(cuts("lenet5")) == {
        "grey": (32, 32, 1), "c1": (28, 28, 6), "s2": (14, 14, 6), "c3": (10, 10, 16),
        "s4": (5, 5, 16), "c5": (1, 1, 120), "flatten": (120,), "f6": (84,),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "size", "cut", "shape"),
    [("alexnet", 67, "conv3", (3, 3, 384)), ("googlenet", 32, "inception4a", (2, 2, 512)),
     ("se-resnet18", 32, "conv3_2", (4, 4, 128)), ("zfnet", 63, "fc6", (4096,))],
)  # fmt: skip
def test_a_net_ends_at_its_cut(name: str, size: int, cut: str, shape: tuple[int, ...]) -> None:
    made = backbone(EmbedderSpec(name, "random:0", cut=cut, input_size=size))
    assert made.output_shape[1:] == shape
    found = np.asarray(made(noise(1, size).astype(np.float32) / 255))
    assert np.isfinite(found).all() and found.std() > 0
