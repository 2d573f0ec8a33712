import shutil
import subprocess

import jax
import pytest

from cnnjax.kernels import frame

READ = {
    "CallFrame": ("extension_start", "api", "ctx", "args", "rets"),
    "Args": ("args",),
    "Rets": ("rets",),
    "Buffer": ("data", "dims"),
    "Api": ("Error_Destroy", "ThreadPool_Schedule", "ThreadPool_NumThreads"),
    "Api_Version": ("major_version", "minor_version"),
    "Metadata": ("api_version", "traits"),
    "Metadata_Extension": ("metadata",),
    "Error_Destroy_Args": ("struct_size", "extension_start", "error"),
    "ThreadPool_Schedule_Args": ("struct_size", "extension_start", "ctx", "task", "data"),
    "ThreadPool_NumThreads_Args": ("struct_size", "extension_start", "ctx", "num_threads"),
}


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_offsets_are_those_of_a_c_compiler(tmp_path):
    prefix = lambda name, field: f"XLA_FFI_{field}" if name == "Api" else field  # noqa: E731
    lines = [
        f'printf("%zu\\n", offsetof(XLA_FFI_{name}, {prefix(name, field)}));'
        for name, fields in READ.items()
        for field in fields
    ] + [f'printf("%zu\\n", sizeof(XLA_FFI_{name}));' for name in READ]
    source = tmp_path / "offsets.c"
    source.write_text(
        '#include <stdio.h>\n#include <stddef.h>\n#include "xla/ffi/api/c_api.h"\nint main() {' + "\n".join(lines) + "}"
    )
    program = tmp_path / "offsets"
    subprocess.run(["cc", "-I", jax.ffi.include_dir(), "-o", program, source], check=True)
    found = list(map(int, subprocess.run([program], check=True, capture_output=True, text=True).stdout.split()))
    header = frame.header()
    expected = [header[name][field] for name, fields in READ.items() for field in fields]
    assert found == expected + [header[name].size for name in READ]


HEADER = """
#define XLA_FFI_API_MAJOR 0
#define XLA_FFI_API_MINOR 7
typedef enum { XLA_FFI_Kind_A = 1 } XLA_FFI_Kind;
struct XLA_FFI_Small { size_t struct_size; XLA_FFI_Kind kind; };
struct XLA_FFI_Large { XLA_FFI_Small small; int32_t number; const XLA_FFI_Small* other; };
"""


def test_layout_follows_the_rules_of_c():
    header = frame.read_header(HEADER)
    assert header.version == (0, 7)
    assert header.constant("Kind_B", "Kind_A") == 1
    assert header["Large"].offsets == {"small": 0, "number": 16, "other": 24}
    assert header["Large"].size == 32


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("MAJOR 0", "MAJOR 1"), "version 1.7"),
        (("MAJOR 0", "MAJOR x"), "no version"),
        (("int32_t number", "long double number"), "not understood: long double number"),
    ],
)
def test_a_header_that_is_not_understood_is_refused(change, reason):
    with pytest.raises(frame.UnknownFrameError, match=reason):
        frame.read_header(HEADER.replace(*change))


def test_what_the_header_does_not_have_is_named():
    header = frame.read_header(HEADER)
    for missing, reason in (
        (lambda: header["Medium"], "no struct Medium"),
        (lambda: header["Small"]["size"], "no field size"),
        (lambda: header.constant("Kind_B"), "no constant Kind_B"),
    ):
        with pytest.raises(frame.UnknownFrameError, match=reason):
            missing()
