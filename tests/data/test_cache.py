"""The cache of decoded images: whole or not at all, and never trusted when damaged."""

import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

from cnnjax.data.cache import cached, fingerprint
from cnnjax.runtime import cache_directory

ARRAYS = {"images": np.arange(24, dtype=np.uint8).reshape(2, 3, 4), "labels": np.array([1, 0], np.int32)}
KEY = {"version": "1", "size": None}


def make():
    return dict(ARRAYS)


def never():
    raise AssertionError("the cache should have been read")


def files(cache):
    return [path for path in cache.rglob("*") if path.is_file()]


def assert_same(arrays):
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype


def test_what_was_made_is_read_back(cache):
    assert_same(cached("mnist", KEY, make))
    assert_same(cached("mnist", KEY, never))
    assert len(files(cache)) == 1


@pytest.mark.parametrize(
    ("name", "key"), [("kmnist", KEY), ("mnist", {**KEY, "version": "2"}), ("mnist", {**KEY, "size": 8})]
)
def test_another_name_version_or_option_is_another_entry(name, key):
    cached("mnist", KEY, make)
    other = {"images": np.zeros(1, np.uint8)}
    assert cached(name, key, lambda: other) is other


@pytest.mark.parametrize("name", ["mnist_corrupted/spatter", "../../mnist", "a:1.0.0"])
def test_any_name_stays_inside_the_cache(name, cache):
    cached(name, KEY, make)
    assert len(files(cache)) == 1
    assert_same(cached(name, KEY, never))


def cut(data):
    return data[: len(data) // 2]


def flip_a_bit(data):
    # Inside the images: the file's framing stays sound, and only the checksum tells.
    place = data.index(ARRAYS["images"].tobytes())
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("damage", [cut, flip_a_bit, lambda data: b"", lambda data: b"\x80\x04N." * 9])
def test_a_damaged_file_is_said_and_replaced(damage, cache):
    cached("mnist", KEY, make)
    (file,) = files(cache)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.warns(UserWarning, match=f"{file.name} are damaged .*; decoding them again") as caught:
        assert_same(cached("mnist", KEY, make))
    assert len(caught) == 1
    assert_same(cached("mnist", KEY, never))


def test_pickled_objects_are_never_loaded(cache):
    cached("mnist", KEY, make)
    (file,) = files(cache)
    np.savez(file, images=np.array([{"an": "object"}], dtype=object))
    with pytest.warns(UserWarning, match="damaged"):
        assert_same(cached("mnist", KEY, make))


def test_an_interrupted_write_leaves_nothing(cache, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            cached("mnist", KEY, make)
    assert files(cache) == []
    assert_same(cached("mnist", KEY, make))


def test_an_unwritable_directory_gives_one_warning_and_the_arrays(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CNNJAX_CACHE", str(tmp_path / "file" / "below"))
    with pytest.warns(UserWarning, match="cannot be kept in .* Set CNNJAX_CACHE") as caught:
        assert_same(cached("mnist", KEY, make))
    assert len(caught) == 1


def test_several_writers_and_readers_meet_only_whole_files():
    failures = []

    def work(seed):
        big = {"images": np.full((200, 1000), seed, np.uint8)}
        for _ in range(10):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                images = cached("mnist", {"round": _}, lambda: big)["images"]
            if images.shape != (200, 1000) or len(np.unique(images)) != 1:
                failures.append(images)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_the_directory_is_the_platforms_unless_set(monkeypatch, cache):
    assert cache_directory() == cache
    monkeypatch.delenv("CNNJAX_CACHE")
    import platformdirs

    assert cache_directory() == Path(platformdirs.user_cache_dir("cnnjax", appauthor=False))
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    with pytest.warns(UserWarning, match="platformdirs is missing and CNNJAX_CACHE is not set"):
        assert_same(cached("mnist", KEY, make))


def test_fingerprint_sees_names_sizes_and_times(tmp_path):
    file = tmp_path / "a"
    file.write_text("one")
    before = fingerprint([file])
    assert fingerprint([file]) == before
    file.write_text("four")
    assert fingerprint([file]) != before
    file.rename(tmp_path / "b")
    assert fingerprint([tmp_path / "b"]) != before


def test_two_processes_decode_into_one_cache(cache):
    code = (
        "import numpy as np; from cnnjax.data.cache import cached; "
        "print(cached('mnist', {}, lambda: {'images': np.arange(10**6)})['images'].sum())"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0] for process in processes] == [f"{sum(range(10**6))}\n"] * 2
    assert len(files(cache)) == 1
