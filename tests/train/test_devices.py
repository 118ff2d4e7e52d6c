"""Several devices: one process with two CPU devices trains as it should; too many are refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cbir.errors import UsageError
from cbir.train.devices import replicas, spread

SCRIPT = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from dataclasses import replace
from cbir.config import EmbedderSpec
from cbir.embed import Embedder
from cbir.train.finetune import finetune
from cbir.train.prepared import prepare
from cbir.train.samples import from_folders
from tests.train.conftest import tiny_model
from tests.train.test_finetune import RECIPE, Quiet
folder, work = sys.argv[1:]
base = Embedder(EmbedderSpec(backbone="test-tiny", weights="random:0", input_size=32), tiny_model())
ready = prepare(from_folders(folder), base, RECIPE, None, Quiet())
for devices in (1, 2):
    recipe = replace(RECIPE, devices=devices, epochs=4)
    made = [finetune(ready, base, recipe, f"{work}{devices}{i}", Quiet()) for i in range(devices)]
    print(devices, *(figures["loss"] for figures in made[0].progress.history))
print("same", made[0].embedder.fingerprint == made[1].embedder.fingerprint)
"""


@pytest.mark.slow
def test_two_devices_learn_and_repeat(classes_of: Callable[..., Path], tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(classes_of()), str(tmp_path / "work")],
        capture_output=True, text=True, timeout=280, cwd=root,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    one, two, same = (line.split() for line in done.stdout.splitlines())
    assert same == ["same", "True"]
    for line in (one, two):
        assert float(line[4]) < 0.7 * float(line[1])
    assert 0.5 < float(two[1]) / float(one[1]) < 1.5  # the mean of the parts, not their sum


def test_one_device_is_as_ever_and_more_than_there_are_is_refused() -> None:
    with spread(1):
        assert replicas() == 1
    with pytest.raises(UsageError, match="expected at most"), spread(1000):
        pass
