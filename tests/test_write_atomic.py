"""An atomic write leaves the old file or the new one, and nothing beside it."""

import os

import pytest

from cnnjax.errors import InputError
from cnnjax.files import write_atomic


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_bytes_and_text_arrive_as_they_are(tmp_path):
    write_atomic(tmp_path / "a", b"\x00\r\n")
    write_atomic(tmp_path / "b", "±\n")
    assert (tmp_path / "a").read_bytes() == b"\x00\r\n"
    assert (tmp_path / "b").read_bytes() == b"\xc2\xb1\n"
    assert names(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_alone(tmp_path, monkeypatch, step):
    path = tmp_path / "a"
    write_atomic(path, "old")

    def fail(*_arguments, **_options):
        raise OSError("no space left")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="no space"):
        write_atomic(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_the_content_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (steps.append("fsync"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (steps.append("replace"), replace(*paths)))
    write_atomic(tmp_path / "a", "x")
    assert steps == ["fsync", "replace"]


def test_a_file_is_as_readable_as_any_other(tmp_path):
    (tmp_path / "plain").write_text("")
    write_atomic(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_absent_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "absent" / "a", "x")


def test_a_folder_in_its_place_is_named(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match="a is a folder"):
        write_atomic(tmp_path / "a", "x")
    assert names(tmp_path) == ["a"]
