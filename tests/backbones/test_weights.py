"""The reader of old torch files: what it reads, and what it refuses."""

from __future__ import annotations

import hashlib
import pickle
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from cbir.backbones import read_torch_state
from cbir.backbones.efficientnet_lite import VARIANTS, blocks_of, packaged_weights
from cbir.backbones.weights import _ALLOWED
from cbir.errors import WeightsError

# Pickles are written here opcode by opcode, since no torch is there to write them.
START, STOP, MARK, TUPLE, REDUCE = b"\x80\x02", b".", b"(", b"t", b"R"
NEW_DICT, SET = b"ccollections\nOrderedDict\n)R", b"s"
MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
SYSTEM = pickle.dumps({"protocol_version": 1001, "little_endian": True}, 2)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def numbers(values: Sequence[int]) -> bytes:
    return MARK + b"".join(map(number, values)) + TUPLE


def storage(key: str, length: int, kind: str = "FloatStorage") -> bytes:
    inner = text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu")
    return MARK + inner + number(length) + b"N" + TUPLE + b"Q"


def tensor(
    stored: bytes, shape: Sequence[int], strides: Sequence[int], offset: int = 0, extra: bytes = b""
) -> bytes:
    lie = number(offset) + numbers(shape) + numbers(strides) + b"\x89" + NEW_DICT + extra
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + MARK + stored + lie + TUPLE + REDUCE


def torch_file(
    tensors: dict[str, bytes], stored: dict[str, bytes], lengths: dict[str, int] | None = None
) -> bytes:
    """`stored` are the raw bytes of each storage; `lengths` their lengths where these are lies."""
    body = NEW_DICT + b"".join(text(name) + value + SET for name, value in tensors.items())
    parts = [MAGIC, SYSTEM, START + body + STOP, pickle.dumps(list(stored), 2)]
    for key, raw in stored.items():
        length = (lengths or {}).get(key, len(raw) // 4)
        parts += [struct.pack("<q", length), raw]
    return b"".join(parts)


VALUES = np.arange(1, 13, dtype=np.float32)
GOOD = {"a.weight": tensor(storage("7", 12), (3, 4), (4, 1))}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "weights.pth"


def test_reads_tensors_as_they_lie_in_their_storages(written: Path) -> None:
    counts = np.array([5, -6], np.int64)
    data = torch_file(
        {
            "plain": tensor(storage("1", 12), (3, 4), (4, 1)),
            "transposed": tensor(storage("1", 12), (4, 3), (1, 4)),
            "part": tensor(storage("1", 12), (2, 2), (4, 1), offset=5),
            "scalar": tensor(storage("2", 2, "LongStorage"), (), (), offset=1),
        },
        {"1": VALUES.tobytes(), "2": counts.tobytes()},
        {"2": 2},
    )
    written.write_bytes(data)
    state = read_torch_state(str(written), hashlib.sha256(data).hexdigest())
    np.testing.assert_array_equal(state["plain"], VALUES.reshape(3, 4))
    np.testing.assert_array_equal(state["transposed"], VALUES.reshape(3, 4).T)
    np.testing.assert_array_equal(state["part"], [[6, 7], [10, 11]])
    assert state["plain"].dtype == np.float32
    assert state["scalar"] == -6 and state["scalar"].dtype == np.int64


def test_another_checksum_is_refused_before_anything_is_read(written: Path) -> None:
    written.write_bytes(b"cposix\nsystem\n.")
    with pytest.raises(WeightsError, match="expected the sha256 0000.*Install the package again"):
        read_torch_state(str(written), "0" * 64)


def call(module: str, name: str, argument: bytes) -> bytes:
    return f"c{module}\n{name}\n".encode() + MARK + argument + TUPLE + REDUCE


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"), ("posix", "system"), ("nt", "system"), ("builtins", "eval"),
        ("builtins", "exec"), ("__builtin__", "eval"), ("subprocess", "check_output"),
        ("importlib", "import_module"), ("torch", "load"), ("torch.storage", "_load_from_bytes"),
        ("torch._utils", "_rebuild_tensor"), ("collections", "OrderedDict.fromkeys"),
        ("numpy", "load"), ("builtins", "getattr"), ("torch", "DoubleStorage"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["whole", "value", "in a tensor", "as a storage", "in the keys",
                                   "in the magic", "in the system"])  # fmt: skip
def test_pickles_that_would_run_something_are_refused(
    module: str, name: str, place: str, written: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "it-ran"
    program = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    evil = call(module, name, text(f"touch {mark}" if name == "system" else program))
    raw = {"7": VALUES.tobytes()}
    file = torch_file(GOOD, raw)
    if place == "whole":
        file = MAGIC + SYSTEM + START + evil + STOP + pickle.dumps([], 2)
    elif place == "value":
        file = torch_file({**GOOD, "evil": evil}, raw)
    elif place == "in a tensor":
        file = torch_file({"a": tensor(storage("7", 12), (3, 4), (4, 1), extra=evil)}, raw)
    elif place == "as a storage":
        file = torch_file({"a": tensor(evil, (3, 4), (4, 1))}, raw)
    elif place == "in the keys":
        file = MAGIC + SYSTEM + START + NEW_DICT + STOP + START + evil + STOP
    elif place == "in the magic":
        file = START + evil + STOP + file
    elif place == "in the system":
        file = MAGIC + START + evil + STOP + file
    written.write_bytes(file)
    with pytest.raises(WeightsError, match="expected an old torch file of plain tensors"):
        read_torch_state(str(written))
    assert not mark.exists()


def test_that_same_pickle_would_have_run(tmp_path: Path) -> None:
    """The test above can fail: an open unpickler does run it."""
    mark = tmp_path / "it-ran"
    program = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    pickle.loads(START + call("builtins", "eval", text(program)) + STOP)
    assert mark.exists()


@pytest.mark.parametrize("name", list(_ALLOWED))
def test_a_pickle_cannot_change_what_it_is_given(name: tuple[str, str], written: Path) -> None:
    """BUILD sets attributes: of the stand-ins, and so of every later file, if they had any."""
    state = b"}" + text("dtype") + text("|O") + SET
    found = f"c{name[0]}\n{name[1]}\n".encode()
    for build in (found + state + b"b", found + MARK + b"N" + state + TUPLE + b"b"):
        written.write_bytes(torch_file({"evil": build}, {}))
        with pytest.raises(WeightsError):
            read_torch_state(str(written))
    written.write_bytes(torch_file(GOOD, {"7": VALUES.tobytes()}))
    np.testing.assert_array_equal(read_torch_state(str(written))["a.weight"], VALUES.reshape(3, 4))


RAW = {"7": VALUES.tobytes()}
NESTED = b")" + b"\x85" * 300_000
"""A tuple in a tuple in a tuple ...: as a key of a dict, it ends Python with a signal."""
BACK = struct.pack("<q", 12) + VALUES.tobytes()


def with_key(key: bytes) -> bytes:
    """A file with one good tensor, whose name is any object."""
    body = START + NEW_DICT + key + GOOD["a.weight"] + SET + STOP
    return MAGIC + SYSTEM + body + pickle.dumps(["7"], 2) + BACK


DAMAGED = {
    "nested key": with_key(NESTED),
    "nested value": torch_file({"a": NESTED}, RAW),
    "nested in the keys": MAGIC + SYSTEM + START + NEW_DICT + STOP + START + b"}" + NESTED
    + b"Ns" + STOP,
    "a key that is no text": with_key(number(3)),
    "a key that is deep": with_key(b")" + b"\x85" * 3000),
    "newer opcodes": torch_file({"a": b"\x8f"}, RAW),
    "a set of texts": torch_file({"a": b"\x8f" + MARK + text("x") + b"\x90"}, RAW),
    "endless text": torch_file({"a": b"X" + struct.pack("<I", 2**32 - 1)}, RAW),
    "an extension": torch_file({"a": b"\x82\x01"}, RAW),
    "one storage of two kinds": torch_file(
        {"a": tensor(storage("7", 6), (3, 2), (2, 1)),
         "b": tensor(storage("7", 6, "LongStorage"), (3, 2), (2, 1))}, RAW, {"7": 6}),
    "infinite": torch_file(GOOD, {"7": np.full(12, np.inf, np.float32).tobytes()}),
    "beyond its storage": torch_file({"a": tensor(storage("7", 12), (4, 4), (4, 1))}, RAW),
    "offset beyond": torch_file({"a": tensor(storage("7", 12), (3, 4), (4, 1), offset=1)}, RAW),
    "negative stride": torch_file({"a": tensor(storage("7", 12), (3, 4), (4, -1))}, RAW),
    "negative offset": torch_file({"a": tensor(storage("7", 12), (3, 4), (4, 1), offset=-1)}, RAW),
    "endless by stride 0": torch_file({"a": tensor(storage("7", 12), (1000,), (0,))}, RAW),
    "empty shape": torch_file({"a": tensor(storage("7", 12), (0, 4), (4, 1))}, RAW),
    "strides missing": torch_file({"a": tensor(storage("7", 12), (3, 4), (4,))}, RAW),
    "length is a lie": torch_file({"a": tensor(storage("7", 11), (3, 3), (3, 1))}, RAW),
    "huge storage": torch_file({"a": tensor(storage("7", 2**50), (3, 4), (4, 1))}, RAW,
                               {"7": 2**50}),
    "storage missing": torch_file(GOOD, {}),
    "unknown storage": torch_file(GOOD, {"8": VALUES.tobytes()}),
    "not a tensor": torch_file({"a": text("plain text")}, RAW),
    "not a dict": MAGIC + SYSTEM + pickle.dumps([1], 2) + pickle.dumps([], 2),
    "not finite": torch_file(GOOD, {"7": np.full(12, np.nan, np.float32).tobytes()}),
    "torn": torch_file(GOOD, RAW)[:-1],
    "torn in the pickle": torch_file(GOOD, RAW)[:150],
    "empty": b"",
    "text": b"weights",
    "another magic": pickle.dumps(1, 2) + torch_file(GOOD, RAW),
    "big-endian": MAGIC + pickle.dumps({"little_endian": False}, 2),
    "system is no dict": MAGIC + pickle.dumps(3, 2),
}  # fmt: skip


def test_attributes_do_not_hide_what_a_dict_holds(written: Path) -> None:
    """BUILD gives the dict attributes `values` and `items`, which are not its methods."""
    ordered = b"ccollections\nOrderedDict\n"
    hide = b"}" + text("values") + ordered + SET + text("items") + ordered + SET
    body = NEW_DICT + text("a") + text("no tensor") + SET + hide + b"b"
    written.write_bytes(MAGIC + SYSTEM + START + body + STOP + pickle.dumps([], 2))
    with pytest.raises(WeightsError, match="holds more than tensors"):
        read_torch_state(str(written))


@pytest.mark.parametrize("name", VARIANTS)
def test_the_packaged_files_are_read(name: str) -> None:
    state = read_torch_state(packaged_weights(name), VARIANTS[name].sha256)
    kinds = {array.dtype for array in state.values()}
    assert kinds == {np.dtype(np.float32), np.dtype(np.int64)}
    assert {key for key, array in state.items() if array.dtype == np.int64} == {
        key for key in state if key.endswith(".num_batches_tracked")
    }
    blocks = {int(key.split(".")[1]) for key in state if key.startswith("_blocks.")}
    assert blocks == set(range(len(blocks_of(name))))
    assert state["_fc.weight"].shape == (1000, 1280)
    assert state["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert all(np.isfinite(array).all() for array in state.values())


@pytest.mark.parametrize("fault", DAMAGED)
def test_damaged_files_are_refused(fault: str, written: Path) -> None:
    written.write_bytes(DAMAGED[fault])
    with pytest.raises(WeightsError, match=r"weights\.pth: expected an old torch file"):
        read_torch_state(str(written))


@pytest.mark.parametrize("note", [b"r" + struct.pack("<I", 2**28), b"p268435456\n"])
def test_notes_that_ask_for_memory_are_refused_unread(note: bytes, written: Path) -> None:
    """An unpickler makes room for all notes up to this one: 4 GiB for five bytes."""
    written.write_bytes(torch_file({"a": b"N" + note}, RAW))
    with pytest.raises(WeightsError, match=r"a pickle of another kind \((LONG_BIN)?PUT\)"):
        read_torch_state(str(written))


def test_a_zip_file_says_how_to_save_it(written: Path) -> None:
    written.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(WeightsError, match="_use_new_zipfile_serialization=False"):
        read_torch_state(str(written))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be read"):
        read_torch_state(str(tmp_path / "none.pth"))
    with pytest.raises(WeightsError, match="cannot be read"):
        read_torch_state(str(tmp_path))
