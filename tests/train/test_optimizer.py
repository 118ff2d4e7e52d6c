"""The schedule, and AdamW with groups, against plain loops."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from cbir.train.optimizer import Cosine, GroupedAdamW


@pytest.mark.parametrize(("total", "warm"), [(10, 0), (10, 3), (1, 0)])
def test_cosine(total: int, warm: int) -> None:
    schedule = Cosine(0.5, total, warm)
    for step in range(total + 3):
        if step < warm:
            expected = 0.5 * (step + 1) / warm
        else:
            share = min(1.0, (step - warm) / max(1, total - warm))
            expected = 0.25 * (1 + math.cos(math.pi * share))
        assert float(schedule(step)) == pytest.approx(expected, abs=1e-6)
    again = Cosine.from_config(schedule.get_config())
    assert float(again(4)) == float(schedule(4))


def adam(
    value: np.ndarray, gradients: list[np.ndarray], rates: list[float], decay: float
) -> np.ndarray:
    """AdamW, algorithm 2 of the paper, one weight after another."""
    out = value.astype(np.float64).ravel()
    for i in range(len(out)):
        m = v = 0.0
        for t, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
            g = float(gradient.ravel()[i])
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            out[i] -= rate * decay * out[i]
            out[i] -= rate * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-7)
    return out.reshape(value.shape)


def test_groups_learn_at_their_own_rates_and_late_ones_wait() -> None:
    rng = np.random.default_rng(0)
    start = [rng.normal(size=s).astype(np.float32) for s in ((2, 3), (2, 3), (3,), (2, 3))]
    names = ["slow", "proxies", "bias", "late"]
    variables = [keras.Variable(v, name=n) for v, n in zip(start, names, strict=True)]
    paths = [v.path for v in variables]
    rule = GroupedAdamW(0.01, {paths[1]: 50.0}, (frozenset({paths[3]}), 2), 0.1)
    rule.build(variables)
    steps = [[rng.normal(size=v.shape).astype(np.float32) for v in start] for _ in range(4)]
    for gradients in steps:
        rule.apply([keras.ops.convert_to_tensor(g) for g in gradients])
    for i, (factor, decay) in enumerate([(1, 0.1), (50, 0.0), (1, 0.0)]):
        expected = adam(start[i], [s[i] for s in steps], [0.01 * factor] * 4, decay)
        assert np.allclose(variables[i].numpy(), expected, atol=1e-4), names[i]
    zeros = [np.zeros((2, 3))] * 2 + [s[3] for s in steps[2:]]
    expected = adam(start[3], zeros, [0.0, 0.0, 0.01, 0.01], 0.1)
    assert np.allclose(variables[3].numpy(), expected, atol=1e-5)
