"""LLVM in this process: what the processor can do, machine code of a module, and its functions at an address.

The only module that imports llvmlite, whose just-in-time compiler (MCJIT) LLVM means to replace: `loaded` is the one
function that would change.
"""

import ctypes
import functools
import os
import threading

import llvmlite.binding as llvm

from cnnjax.kernels.vectors import Processor, UnfitProcessorError

_X86 = ("x86_64", "amd64")
_lock = threading.RLock()
_engines: list[llvm.ExecutionEngine] = []  # what is loaded lives as long as the process: XLA keeps its address


@functools.cache
def processor() -> Processor:
    """Vectors and registers of this processor. Raises UnfitProcessorError where it cannot add products to vectors."""
    return _vectors(features())


@functools.cache
def features() -> tuple[str, ...]:
    """The instructions of this processor by LLVM's names, sorted. Raises UnfitProcessorError if they are not known."""
    _start()
    try:
        return tuple(sorted(name for name, there in llvm.get_host_cpu_features().items() if there))
    except RuntimeError as error:
        raise UnfitProcessorError("LLVM cannot tell what this processor can do") from error


def _vectors(names: tuple[str, ...]) -> Processor:
    architecture = _architecture(llvm.get_process_triple())
    if architecture in _X86:
        if {"avx512f", "avx512vl", "avx512dq", "avx512bw"} <= {*names}:
            return Processor(lanes=16, registers=32)
        if {"avx2", "fma"} <= {*names}:
            return Processor(lanes=8, registers=16)
        raise UnfitProcessorError("it has no AVX2 and FMA")
    if architecture in ("aarch64", "arm64"):
        return Processor(lanes=4, registers=32)
    raise UnfitProcessorError(f"nothing is written for {architecture}")


def _architecture(triple: str) -> str:
    return triple.split("-")[0]


def identity() -> tuple[str, ...]:
    """What machine code depends on, beside the module that it is made of."""
    version = ".".join(map(str, llvm.llvm_version_info))
    return (llvm.get_process_triple(), llvm.get_host_cpu_name(), *features(), f"LLVM {version}")


def compiled(text: str) -> bytes:
    """The machine code of a module, as an object file."""
    with _lock:
        return _target_machine().emit_object(_simplified(text))


def assembly(text: str) -> str:
    """The machine code of a module, to read."""
    with _lock:
        return _target_machine().emit_assembly(_simplified(text))


def _simplified(text: str) -> llvm.ModuleRef:
    """The module with its variables in registers."""
    machine = _target_machine()
    unit = llvm.parse_assembly(text)
    unit.verify()
    unit.triple, unit.data_layout = machine.triple, str(machine.target_data)
    passes = llvm.create_new_function_pass_manager()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options())
    for function in unit.functions:
        if not function.is_declaration:
            passes.run(function, builder)
    return unit


def loaded(code: bytes, function: str) -> int:
    """The address of a function of an object file, brought into this process for good."""
    with _lock:
        _define_symbols()
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine())
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        _engines.append(engine)
        address = engine.get_function_address(function)
    if not address:
        raise OSError(f"there is no function {function} in this machine code")
    return address


@functools.cache
def _start() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


def _target_machine() -> llvm.TargetMachine:
    _start()
    wanted = ",".join(f"+{name}" for name in features())
    return _machine(llvm.get_process_triple(), llvm.get_host_cpu_name(), wanted)


def _machine(triple: str, cpu: str, wanted: str = "") -> llvm.TargetMachine:
    # Code, its tables and what it calls are in pieces of memory of their own, more than 2 GiB from each other in a
    # process that has mapped much. On x86 only the large model reaches so far; with another LLVM ends the process.
    # Elsewhere llvmlite keeps them in one piece, and the large model gives wrong addresses on Apple's processors.
    far = _architecture(triple) in _X86
    reloc, model = ("static", "large") if far else ("pic", "small")
    target = llvm.Target.from_triple(triple)
    return target.create_target_machine(cpu=cpu, features=wanted, opt=3, reloc=reloc, codemodel=model, jit=True)


@functools.cache
def _define_symbols() -> None:
    """What the handler calls: memory, and giving way to another thread, by the names of this system."""
    if os.name == "nt":
        memory, system = ctypes.cdll.msvcrt, ctypes.WinDLL("kernel32")  # pyright: ignore[reportAttributeAccessIssue]
        give_way = system.SwitchToThread
    else:
        memory = ctypes.CDLL(None)
        give_way = memory.sched_yield
    functions = {"malloc": memory.malloc, "free": memory.free, "yield": give_way}
    for name, function in functions.items():
        address = ctypes.cast(function, ctypes.c_void_p).value
        assert address is not None
        llvm.add_symbol(f"cnnjax_{name}", address)
