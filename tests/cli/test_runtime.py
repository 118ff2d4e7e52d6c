"""`--runtime` and `--device`: they hold for one command."""

from __future__ import annotations

from pathlib import Path

import pytest

from cbir.cli import run
from cbir.config import runtime_choice
from cbir.embed.runtimes.seam import has_openvino

pytestmark = pytest.mark.usefixtures("capsys")


@pytest.mark.parametrize("runtime", ["auto", "keras", "openvino"])
def test_every_runtime_gives_the_same_answers(
    runtime: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if runtime == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO has no wheel for this system")
    monkeypatch.setenv("CBIR_CACHE", str(tmp_path / "cache" / "features.sqlite"))
    index = str(tmp_path / "index")
    made = ["index", str(photos), "-i", index, "--embedder", "efficientnet-lite0",
            "--input-size", "64"]  # fmt: skip
    assert run([*made, "--runtime", runtime, "--device", "cpu"]) == 0
    compiled = (tmp_path / "cache" / "compiled").exists()
    assert compiled == (runtime != "keras" and has_openvino())
    capsys.readouterr()
    picture = str(photos / "a" / "00.png")
    ask = ["query", picture, "-i", index, "--crop", "0,0,0.8,0.8", "-k", "3", "--csv"]
    found = []
    for by in (runtime, "keras"):
        assert run([*ask, "--runtime", by]) == 0
        found.append([line.split(",") for line in capsys.readouterr().out.splitlines()[1:]])
    assert [row[:4] for row in found[0]][0] == [row[:4] for row in found[1]][0]
    assert runtime_choice().runtime == "keras"  # as the tests have it


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runtime", "fast"], "'fast' is not one of"),
        (["--device", "tpu"], "device: expected auto, cpu, gpu or gpu:N"),
        (["--runtime", "openvino", "--device", "gpu"], "computes on the processor"),
    ],
)
def test_others_are_refused(
    arguments: list[str], message: str, photos: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert run(["index", str(photos), "-i", str(tmp_path / "index"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "index").exists()
