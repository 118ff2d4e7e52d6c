"""`cbir adopt` as a user meets it, with real networks that are small."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cbir.config import EmbedderSpec
from cbir.embed import Embedder, ModelCard
from tests.cli.conftest import Done, Sample

Run = Callable[..., Done]
STEM = EmbedderSpec("efficientnet-lite0", "random:1", "stem_relu6", input_size=32)
"""The first layer with random weights: it sees colours and edges, and knows nothing."""
CARD = ModelCard(
    "a trained head", "efficientnet-lite0", "ab" * 16, "Apache-2.0", {"images": 3}, {},
    {"seed": 0}, {"validation": {"MAP@R": {"before": 0.5, "after": 0.6}}},
)  # fmt: skip


@pytest.fixture(scope="module")
def weak(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved embedder that finds little."""
    folder = tmp_path_factory.mktemp("weak") / "weak"
    Embedder.from_spec(STEM).save(folder)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What training writes: a dense head with unit length on a backbone, and a card."""
    import keras

    base = Embedder.from_spec(STEM).model
    keras.utils.set_random_seed(5)
    head = keras.layers.Dense(8, name="head")(base.output)
    model = keras.Model(base.input, keras.layers.UnitNormalization(name="unit")(head))
    spec = EmbedderSpec("efficientnet-lite0", "trained", "stem_relu6", input_size=32)
    folder = tmp_path_factory.mktemp("trained") / "trained"
    Embedder(spec, model).save(folder, CARD)
    return folder


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory, weak: Path, sample: Sample) -> Path:
    """40 views of eight photographs, indexed by the weak embedder; labels as metadata."""
    from cbir.cli import run

    folder = tmp_path_factory.mktemp("gallery")
    rows = ["path,label"]
    for photo in sorted(p for p in sample.photos.iterdir() if p.is_dir())[:8]:
        (folder / "photos" / photo.name).mkdir(parents=True)
        views = sorted(photo.iterdir(), key=lambda view: (view.name != "original.jpg", view.name))
        for view in views[:5]:
            shutil.copy(view, folder / "photos" / photo.name / view.name)
            rows.append(f"{photo.name}/{view.name},{photo.name}")
    (folder / "photos" / "meta.csv").write_text("\n".join(rows) + "\n")
    done = run(["index", str(folder / "photos"), "-i", str(folder / "index"), "--embedder",
                str(weak), "--metadata", str(folder / "photos" / "meta.csv")])  # fmt: skip
    assert done == 0
    return folder


@pytest.fixture
def index(gallery: Path, tmp_path: Path) -> Path:
    shutil.copytree(gallery / "index", tmp_path / "index")
    return tmp_path / "index"


def answers(command: Run, index: Path, photos: Path) -> str:
    """`cbir query --jsonl` but for the time."""
    files = sorted(photos.rglob("original.jpg"))
    lines = command("query", *files, "-i", index, "--jsonl").out.splitlines()
    assert len(lines) == len(files) > 3
    found = [json.loads(line) for line in lines]
    return json.dumps([{k: v for k, v in one.items() if k != "took_ms"} for one in found])


def test_better_worse_and_back(command: Run, index: Path, gallery: Path, weak: Path) -> None:
    photos = gallery / "photos"
    before = answers(command, index, photos)
    done = command("adopt", "efficientnet-lite0", "--input-size", 96, "-i", index)
    assert done.code == 0, done.err
    assert "labels: column label" in done.out and "Adopted: MAP@R is higher" in done.out
    assert "live" in done.out and "95 % interval" in done.out and "40 queries" in done.out
    shown = command("info", "-i", index).out
    assert "96 px" in shown and "former       efficientnet-lite0 (random:1, 32 px" in shown
    after = answers(command, index, photos)
    assert after != before

    again = command("adopt", "efficientnet-lite0", "--input-size", 96, "-i", index)
    assert again.code == 0 and "Nothing to do" in again.out
    worse = command("adopt", weak, "-i", index, "--json")
    told = json.loads(worse.out)
    assert worse.code == 6 and not told["swapped"] and "is lower" in told["why"]
    assert told["comparison"]["metrics"]["MAP@R"]["difference"] < 0 and told["embedded"] == 0
    assert answers(command, index, photos) == after

    back = command("adopt", "--roll-back", "-i", index)
    assert back.code == 0 and "Back to generation 1" in back.out
    assert back.out.rstrip().endswith(f"cbir adopt --roll-back -i {index}")
    assert answers(command, index, photos) == before
    forth = json.loads(command("adopt", "--roll-back", "-i", index, "--json").out)
    assert forth["swapped"] and forth["embedded"] == 0
    assert answers(command, index, photos) == after
    assert command("check", "-i", index).code == 0
    gone = command("adopt", "--forget", "-i", index)
    assert gone.code == 0 and "1 embedder forgotten" in gone.out
    assert command("adopt", "--roll-back", "-i", index).code == 2
    assert command("check", "-i", index).code == 0


def test_a_trained_one_goes_everywhere(
    command: Run, index: Path, gallery: Path, trained: Path, tmp_path: Path
) -> None:
    photos, own, lent = gallery / "photos", tmp_path / "own", tmp_path / "lent"
    shutil.copytree(trained, lent)
    assert command("index", photos, "-i", own, "--embedder", lent, "--metadata",
                   photos / "meta.csv").code == 0  # fmt: skip
    shutil.rmtree(lent)  # an index holds all that it needs
    assert "trained, 32 px" in command("info", "-i", own).out
    assert command("query", photos / "meta.csv", "-i", own).code != 0
    assert '"rank":1' in answers(command, own, photos).replace(" ", "")
    assert command("check", "-i", own).code == 0
    measured = command("benchmark", "recall", photos, "--embedder", trained, "--no-floor", "--json")
    assert measured.code == 0
    assert json.loads(measured.out)["about"]["dims"] == 8
    assert command("adopt", trained, "-i", index, "--force", "--self-queries", "--sample",
                   20).code == 0  # fmt: skip
    (saved,) = (index / "embedders").iterdir()
    assert json.loads((saved / "embedder.json").read_text())["training"]["title"] == CARD.title
    assert command("check", "-i", index).code == 0
    same = answers(command, own, photos).replace(str(own), str(index))
    assert answers(command, index, photos) == same
    assert command("adopt", "--roll-back", "-i", index).code == 0
    assert command("adopt", "--forget", "-i", index).code == 0
    assert list((index / "embedders").iterdir()) == []


def test_an_index_of_the_older_layout(
    command: Run, gallery: Path, trained: Path, weak: Path, tmp_path: Path
) -> None:
    """Its only embedder lies in `embedder/`: it is read, and can be gone back to."""
    photos, own = gallery / "photos", tmp_path / "own"
    assert command("index", photos, "-i", own, "--embedder", trained).code == 0
    (saved,) = (own / "embedders").iterdir()
    saved.rename(own / "embedder")
    (own / "embedders").rmdir()
    before = answers(command, own, photos)
    assert command("check", "-i", own).code == 0
    assert command("adopt", weak, "-i", own, "--force").code == 0
    assert command("check", "-i", own).code == 0 and (own / "embedder").is_dir()
    assert command("adopt", "--roll-back", "-i", own).code == 0
    assert answers(command, own, photos) == before
    assert command("adopt", weak, "-i", own, "--force").code == 0
    assert command("adopt", "--forget", "-i", own).code == 0
    assert not (own / "embedder").exists() and command("check", "-i", own).code == 0


def test_pictures_that_are_gone(command: Run, gallery: Path, tmp_path: Path, weak: Path) -> None:
    shutil.copytree(gallery / "photos", tmp_path / "photos")
    index = tmp_path / "index"
    assert command("index", tmp_path / "photos", "-i", index, "--embedder", weak).code == 0
    gone = sorted((tmp_path / "photos").rglob("original.jpg"))[0]
    gone.unlink()
    asked = ("adopt", "efficientnet-lite0", "--input-size", 64, "-i", index)
    done = command(*asked)
    assert done.code == 6 and str(gone) in done.err and "Bring the index up to date" in done.err
    assert "1 of 40 images cannot be read now" in done.out
    told = json.loads(command(*asked, "--force", "--json").out)
    assert told["swapped"] and told["forced"] and [f["path"] for f in told["lost"]] == [str(gone)]
    assert "1 image that its embedder has not seen" in command("info", "-i", index).out
    assert command("index", "-i", index).code == 0  # it is gone: dropped
    assert command("check", "-i", index).code == 0
    (tmp_path / "photos").rename(tmp_path / "away")
    done = command("adopt", weak, "-i", index, "--force")
    assert done.code == 0  # its features are all there: no file is needed
    done = command("adopt", "efficientnet-lite0", "--input-size", 48, "-i", index, "--force")
    assert done.code == 6 and "none of the index's pictures" in done.out
    assert "Mount the folder" in done.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "expected one of EMBEDDER, --roll-back and --forget"),
        (("x", "--roll-back"), 2, "expected one of EMBEDDER"),
        (("--roll-back", "--forget"), 2, "expected one of EMBEDDER"),
        (("--roll-back", "--labels", "x"), 2, "--labels: expected with EMBEDDER"),
        (("--forget", "--force"), 2, "--force: expected with EMBEDDER"),
        (("no-such-net",), 2, "no-such-net"),
        ((".",), 5, "holds no embedder"),
        (("efficientnet-lite0", "--labels", "colour"), 2, "expected one of the index's metadata"),
        (
            ("efficientnet-lite0", "--query-where", "split=test"),
            2,
            "expected one of the columns format, height, label",
        ),
        (("efficientnet-lite0", "--self-queries", "--labels", "label"), 2, "needs no labels"),
        (("efficientnet-lite0", "--cut", "no-such-layer"), 2, "no-such-layer"),
        (("{weak}", "--cut", "stem_relu6"), 2, "has all its settings"),
        (("--roll-back",), 2, "no former embedder"),
    ],
)
def test_mistakes(
    arguments: tuple[str, ...], code: int, message: str, command: Run, index: Path, weak: Path
) -> None:
    used = [argument.format(weak=weak) for argument in arguments]
    done = command("adopt", *used, "-i", index)
    assert done.code == code and message in done.err
    assert command("check", "-i", index).code == 0


def test_no_index(command: Run, tmp_path: Path) -> None:
    assert command("adopt", "efficientnet-lite0", "-i", tmp_path / "none").code == 3
    assert not (tmp_path / "none").exists()


def test_mistakes_load_no_network(gallery: Path) -> None:
    import subprocess

    code = (
        "import sys\nfrom cbir.cli import run\n"
        f"for more in (['nosuch'], ['.'], ['--roll-back'], ['--forget'], []):\n"
        f"    run(['adopt', *more, '-i', {str(gallery / 'index')!r}])\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules), 'loaded'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_queries_go_on_while_a_real_network_is_adopted(
    command: Run, gallery: Path, tmp_path: Path
) -> None:
    """A thread asks all the time; Lite0 at 64 pixels gives way to Lite0 at 128."""
    import threading

    from cbir.lifecycle import EmbedderRequest, adopt, roll_back
    from cbir.query import Index

    photos, index = gallery / "photos", tmp_path / "index"
    lite = ("--embedder", "efficientnet-lite0", "--input-size", 64)
    assert command("index", photos, "-i", index, *lite).code == 0
    files = [str(file) for file in sorted(photos.rglob("*.jpg"))]
    done, problems, asked = threading.Event(), list[BaseException](), [0]
    used: set[str] = set()

    def ask() -> None:
        try:
            with Index(str(index)) as opened:
                while not done.is_set():
                    (example,) = opened.examples([files[asked[0] % len(files)]])
                    used.add(example.embedder)
                    found = opened.query(files[asked[0] % len(files)], k=50)
                    assert len(found.hits) == 39
                    part = opened.query(files[0], k=3, crop="0,0,0.9,0.9")  # is embedded
                    assert len(part.hits) == 3
                    asked[0] += 1
        except BaseException as error:
            problems.append(error)

    reader = threading.Thread(target=ask)
    reader.start()
    try:
        report = adopt(str(index), EmbedderRequest("efficientnet-lite0", input_size=128))
        if not report.swapped:
            from cbir.lifecycle import AdoptOptions

            forced = AdoptOptions(force=True)
            adopt(str(index), EmbedderRequest("efficientnet-lite0", input_size=128), forced)
        seen = asked[0]
        while asked[0] < seen + 5 and not problems:
            done.wait(0.05)
        roll_back(str(index))
        seen = asked[0]
        while asked[0] < seen + 5 and not problems:
            done.wait(0.05)
    finally:
        done.set()
        reader.join()
    assert not problems, problems[0]
    assert len(used) == 2 and asked[0] > 10
