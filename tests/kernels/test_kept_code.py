import os

import pytest

from cnnjax.kernels import Geometry, channel_calls, kept_code, machine_code, targets

GEOMETRY = Geometry((5, 6), 3, 4, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where code is kept, by itself."""
    monkeypatch.setenv("CNNJAX_CACHE", str(tmp_path))
    return tmp_path / "kernels"


@pytest.fixture
def compilations(monkeypatch):
    """The modules that are compiled."""
    found, compiled = [], machine_code.compiled
    monkeypatch.setattr(machine_code, "compiled", lambda text: found.append(text) or compiled(text))
    return found


def code(name="some_kernel"):
    return targets.code(name, lambda: targets.source(GEOMETRY, "forward", machine_code.processor(), name))


def test_kept_code_is_compiled_once(folder, compilations):
    first = code()
    assert code() == first
    assert len(compilations) == 1
    (file,) = folder.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert machine_code.loaded(first, "some_kernel") > 0
    assert file.stat().st_size > len(first)


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:40] + bytes([b[40] ^ 1]) + b[41:], lambda b: b""])
def test_damaged_code_is_compiled_anew(folder, compilations, damage):
    first = code()
    (file,) = folder.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert code() == first
    assert code() == first
    assert len(compilations) == 2


def test_code_depends_on_the_processor(folder, compilations, monkeypatch):
    code()
    monkeypatch.setattr(machine_code, "identity", lambda: ("another processor",))
    code()
    assert len(compilations) == 2


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_nothing_is_kept_where_others_can_write(folder, compilations, mode):
    folder.mkdir()
    folder.chmod(mode)
    code(), code()
    assert len(compilations) == 2
    assert not list(folder.iterdir())


def test_nothing_is_kept_in_the_folder_of_another(folder, compilations, monkeypatch):
    code()
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    assert kept_code.kept(next(folder.iterdir()).name) is None
    code()
    assert len(compilations) == 2


def test_a_link_to_code_elsewhere_is_not_followed(folder, compilations, tmp_path):
    code()
    (file,) = folder.iterdir()
    elsewhere = file.rename(tmp_path / "elsewhere")
    file.symlink_to(elsewhere)
    code()
    assert len(compilations) == 2


def test_code_for_other_processors_is_written(monkeypatch):
    # Compiled, not run: the products are fused, and no sum leaves the registers.
    import llvmlite.binding as llvm

    from cnnjax.kernels.vectors import Processor

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    geometry = Geometry((8, 8), 64, 64, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    for triple, cpu, processor, fused in (
        ("x86_64-unknown-linux-gnu", "haswell", Processor(8, 16), "vfmadd"),
        ("x86_64-unknown-linux-gnu", "skylake-avx512", Processor(16, 32), "vfmadd"),
        ("aarch64-unknown-linux-gnu", "neoverse-n1", Processor(4, 32), "fmla"),
        ("arm64-apple-darwin", "apple-m1", Processor(4, 32), "fmla"),
    ):
        machine = machine_code._machine(triple, cpu)
        monkeypatch.setattr(machine_code, "_target_machine", lambda machine=machine: machine)
        sources = {which: targets.source(geometry, which, processor, "kernel") for which in ("forward", "weights")}
        for which in ("input", "weights"):
            sources[f"tiled {which}"] = targets.source(geometry, which, processor, "kernel", tiled=True)
        sources |= {which: channel_calls.source(which, 64, processor, "kernel") for which in ("sums", "moments")}
        for which, source in sources.items():
            text = machine_code.assembly(source)
            counted = [text.count(word) for word in (fused, "Spill", "fmaf")]
            assert counted[0] >= (4 if which in ("sums", "moments") else 16), (cpu, which)
            assert counted[1:] == [0, 0], (cpu, which)
