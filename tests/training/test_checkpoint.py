"""A kept file is taken for what it was written as, whole, or it is refused: nothing else in its place is a result."""

import json
import os
import shutil
import socket

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from cnnjax import InputError
from cnnjax.training import load_tree, read_arrays, save_tree

TREE = {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "step": np.array([4, 4], np.int32)}


@pytest.fixture
def kept(tmp_path):
    save_tree(tmp_path / "state.safetensors", TREE, of="demo 1/cell=a", note="x")
    return tmp_path / "state.safetensors"


def test_every_flipped_bit_and_every_torn_end_is_refused(kept):
    whole = kept.read_bytes()
    assert read_arrays(kept)[1] == {"note": "x"}
    damaged = [whole[:i] + bytes([whole[i] ^ (1 << (i % 8))]) + whole[i + 1 :] for i in range(len(whole))]
    damaged += [whole[:end] for end in range(0, len(whole), 7)] + [whole + b"\0"]
    for content in damaged:
        kept.write_bytes(content)
        with pytest.raises(InputError, match=r"state\.safetensors (cannot be read|is corrupt).*delete it to compute"):
            read_arrays(kept)


def test_a_file_belongs_to_one_cell_under_one_name(kept):
    tree, _ = load_tree(kept, TREE, of="demo 1/cell=a")
    np.testing.assert_array_equal(tree["kernel"], TREE["kernel"])
    for of in ("demo 1/cell=b", "demo 2/cell=a", "other 1/cell=a"):
        with pytest.raises(InputError, match=f"is not of {of}/state.safetensors, but of demo 1/cell=a/state"):
            load_tree(kept, TREE, of=of)
    other = shutil.copy(kept, kept.with_name("weights.safetensors"))
    with pytest.raises(InputError, match=r"is not of demo 1/cell=a/weights\.safetensors"):
        read_arrays(other, of="demo 1/cell=a")
    # Who copies a file for a use of his own asks for no owner, and still for a whole file.
    assert set(read_arrays(other)[0]) == set(TREE)


def test_other_writers_files_have_no_digest(tmp_path):
    file = tmp_path / "t.safetensors"
    for metadata in (
        None,
        {"about": "{}"},
        {"about": "3"},
        {"about": json.dumps({"about": {}, "of": "", "sha256": 1})},
    ):
        save_file({"a": np.zeros(3, np.float32)}, file, metadata=metadata)
        with pytest.raises(InputError, match=r"(this|another) version"):
            read_arrays(file)


def test_a_header_nested_without_end_is_refused(tmp_path):
    deep = b'{"__metadata__":' + b"[" * 100_000
    (tmp_path / "t.safetensors").write_bytes(len(deep).to_bytes(8, "little") + deep)
    with pytest.raises(InputError, match="damaged"):
        read_arrays(tmp_path / "t.safetensors")


def test_what_is_no_file_is_refused_at_once(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        (tmp_path / "device").symlink_to("/dev/zero")
        for name in ("folder", "pipe", "socket", "device"):
            with pytest.raises(InputError, match=rf"{name} cannot be read \(it is not a file"):
                read_arrays(tmp_path / name)
    with pytest.raises(InputError, match=r"absent cannot be read \(No such file"):
        read_arrays(tmp_path / "absent")


def test_the_same_arrays_are_the_same_bytes_that_any_reader_of_safetensors_reads(kept, tmp_path):
    first = kept.read_bytes()
    save_tree(kept, TREE, of="demo 1/cell=a", note="x")
    assert kept.read_bytes() == first
    with safe_open(kept, framework="numpy") as file:
        np.testing.assert_array_equal(file.get_tensor("step"), TREE["step"])
