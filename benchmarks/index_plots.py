"""Plots of benchmarks/index.py: recall against queries a CPU-second; recall over the minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt


def plot(found: dict[str, Any], path: Path) -> None:
    """One page, PNG."""
    if "series" in found:
        _over_time(found, path)
    elif found["ask"]["curve"]["cbir"]:
        _curves(found, path)


def _curves(found: dict[str, Any], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    size = {"cbir": found["build"]["bytes_per_vector"]}
    curves = dict(found["ask"]["curve"])
    for name in ("hnswlib", "usearch"):
        if name in found:
            curves |= found[name]["curve"]
            size[name] = found[name]["built"]["bytes_per_vector"]
    for name, points in curves.items():
        efforts, recalls, speeds = zip(*points, strict=True)
        label = f"{name}, {size[name]:.0f} bytes a vector"
        axes.plot(recalls, speeds, marker="o", markersize=4, label=label)
        for effort, recall, speed in zip(efforts, recalls, speeds, strict=True):
            axes.annotate(str(effort), (recall, speed), fontsize=7, xytext=(3, 3),
                          textcoords="offset points")  # fmt: skip
    axes.set(xlabel="recall@10 against exact search", ylabel="queries a CPU-second", yscale="log",
             xlim=(0.85, 1.002))  # fmt: skip
    axes.set_title("Numbers beside points: effort of the search", fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _over_time(found: dict[str, Any], path: Path) -> None:
    figure, panels = plt.subplots(3, 1, figsize=(7, 6), sharex=True, layout="constrained")
    minutes = [row["minutes"] for row in found["series"]]
    labels = {"recall": "recall@10", "ms": "ms of one query", "images": "images"}
    for axes, (key, label) in zip(panels, labels.items(), strict=True):
        axes.plot(minutes, [row[key] for row in found["series"]], linewidth=1)
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    panels[0].axhline(found["target"], color="black", linestyle="--", linewidth=0.8)
    panels[0].set_ylim(0.9, 1.005)
    panels[1].set_ylim(0)
    panels[-1].set_xlabel("minutes")
    figure.savefig(path, dpi=110)
    plt.close(figure)
