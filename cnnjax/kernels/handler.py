"""The function that XLA calls, in LLVM IR: it shares the work of a kernel with XLA's own threads.

It reads the frame of pointers that XLA hands over, cuts the maps into chunks and offers them to XLA's threads. Whoever
comes takes the next chunk. The caller takes part, so that nothing waits for a thread that may not come, and returns
when all are done. No Python runs and no lock is held while a program runs.

Operands are (shares, copies, maps, …) arrays or (shares, copies, …) weights: for each share of a batch, of which there
are several where devices share it, as many convolutions of one geometry as there are copies, of all operands or of
some, beside one of the others.
"""

import dataclasses
import functools

from cnnjax.kernels.code import Code, Number
from cnnjax.kernels.frame import Header, Struct

# A job, which the threads that work on it share. `step_` is how far the operands of copies lie from each other.
_OPERANDS = ("in", "w", "out", "third")
_COUNTS = ("next", "done", "owners", "chunks", "parts", "units", "workers")
_FIELDS = (*_COUNTS, "scratch", *_OPERANDS, *(f"step_{name}" for name in _OPERANDS))
_JOB = {name: 8 * number for number, name in enumerate(_FIELDS)}
_JOB_BYTES = 8 * len(_JOB)


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the work of one call is cut. A unit is a tile of rows of one map; a chunk so many units of one copy."""

    tiles: int
    """Units in a map."""
    units: int
    """Units in a chunk, unless there would be more than `most_chunks` for a copy."""
    most_chunks: int
    in_size: int
    """Numbers in one map of the first operand."""
    w_size: int
    """Numbers in one map of the second operand; in all the weights where it has no maps."""
    out_size: int
    """Numbers in one map of the result; in all of it where every chunk gives a sum of its own."""
    sums: bool
    """Whether the result is a sum over all units: then each chunk's sum goes to the second result first, and the first
    is the sum of these in their order, so that the number of threads does not change a bit."""
    finished_size: int = 0
    """Numbers of one copy of the first result where `{kernel}_finish` makes it of the chunks' sums; 0 where they are
    added up."""
    third_size: int = 0
    """Numbers in one copy of a third operand, which all maps of a copy share; 0 where there is none."""
    scratch: int = 0
    """Numbers that a worker keeps between the steps of its work: the last result is (shares, copies, workers,
    scratch), and no more threads take part than that are workers. 0 where none are kept."""

    def chunks(self, maps: int) -> int:
        """Chunks for each copy, of so many maps. Sums are few and long: a power of two is shared out evenly."""
        chunks = min(self.most_chunks, -(-maps * self.tiles // self.units))
        return 1 << chunks.bit_length() - 1 if self.sums and chunks else chunks


def handler(kernel: str, plan: Plan, header: Header, *, name: str) -> str:
    """`XLA_FFI_Error* name(XLA_FFI_CallFrame*)`, which runs `kernel`, and the functions that it calls."""
    c = Code()
    at = lambda p, offset: c.at(p, offset, "i8")  # noqa: E731
    frame, buffer, api_struct = header["CallFrame"], header["Buffer"], header["Api"]
    _answer_metadata(c, header)
    api, context = (c.load("ptr", at("%frame", frame[field]), 8) for field in ("api", "ctx"))
    args = c.load("ptr", at("%frame", frame["args"] + header["Args"]["args"]), 8)
    results = c.load("ptr", at("%frame", frame["rets"] + header["Rets"]["rets"]), 8)
    first, second, *third = (c.load("ptr", at(args, 8 * k), 8) for k in range(3 if plan.third_size else 2))
    data = lambda p: c.load("ptr", at(p, buffer["data"]), 8)  # noqa: E731
    out = data(c.load("ptr", results, 8))
    more_results = [c.load("ptr", at(results, 8 * k), 8) for k in range(1, 1 + plan.sums + (plan.scratch > 0))]
    made = data(more_results[0]) if plan.sums else out
    dims = [c.load("ptr", at(p, buffer["dims"]), 8) for p in (first, second, *third)]
    lengths = [c.mul(c.load("i64", d, 8), c.load("i64", at(d, 8), 8)) for d in dims]
    copies, maps = functools.reduce(c.max, lengths), c.load("i64", at(dims[0], 16), 8)
    units = c.mul(maps, plan.tiles)
    parts = c.min(c.div(c.add(units, plan.units - 1), plan.units), plan.most_chunks)
    if plan.sums:
        parts = _power_of_two(c, parts)
    chunks = c.mul(copies, parts)

    # Where there is no memory for a job that may outlive this call, the caller works by itself.
    asked = c.op(f"call ptr @cnnjax_malloc(i64 {_JOB_BYTES})")
    own = c.variable(f"[{len(_JOB)} x i64]")
    shared = c.op(f"icmp ne ptr {asked}, null")
    job = c.op(f"select i1 {shared}, ptr {asked}, ptr {own}")
    threads = c.min(_threads(c, header, api, context), chunks)
    if plan.scratch:
        lengths_of_it = c.load("ptr", at(more_results[-1], buffer["dims"]), 8)
        threads = c.min(
            threads, functools.reduce(c.mul, (c.load("i64", at(lengths_of_it, 8 * k), 8) for k in range(3)))
        )
    wanted = c.max(c.sub(threads, 1), 0)
    helpers = c.op(f"select i1 {shared}, i64 {wanted}, i64 0")
    # An operand that there is once is every copy's.
    sizes = c.mul(maps, plan.in_size), c.mul(maps, plan.w_size) if plan.sums else plan.w_size, plan.third_size
    steps = {
        f"step_{field}": c.op(f"select i1 {c.op(f'icmp eq i64 {length}, 1')}, i64 0, i64 {size}")
        for field, length, size in zip(("in", "w", "third"), lengths, sizes, strict=False)
    }
    step_out = c.mul(parts, plan.out_size) if plan.sums else c.mul(maps, plan.out_size)
    numbers: dict[str, Number] = {
        "next": 0, "done": 0, "owners": c.add(helpers, 1), "chunks": chunks, "parts": parts, "units": units,
        "workers": 0, **steps, "step_out": step_out,
    }  # fmt: skip
    for field, number in numbers.items():
        c.store("i64", number, at(job, _JOB[field]), 8)
    arrays: dict[str, str] = dict(zip(_OPERANDS, (data(first), data(second), made, *map(data, third)), strict=False))
    if plan.scratch:
        arrays["scratch"] = data(more_results[-1])
    for field, pointer in arrays.items():
        c.store("ptr", pointer, at(job, _JOB[field]), 8)

    schedule = header["ThreadPool_Schedule_Args"]
    order = c.variable(f"[{schedule.size} x i8], align 8")
    with c.loop(0, helpers):
        _fill(c, order, schedule, {"ctx": context, "task": f"@{name}_task", "data": job})
        error = c.op(f"call ptr {c.load('ptr', at(api, api_struct['ThreadPool_Schedule']), 8)}(ptr {order})")
        with c.when(c.op(f"icmp ne ptr {error}, null")):
            c.emit(f"call void @{name}_forget(ptr {api}, ptr {error})")
            c.emit(f"call void @{name}_let_go(ptr {job})")
    c.emit(f"call void @{name}_work(ptr {job})")
    # The others finish the chunk they are at; whoever has not begun finds none left.
    c.emit("br label %wait")
    c.label("wait")
    done = c.op(f"load atomic i64, ptr {at(job, _JOB['done'])} acquire, align 8")
    ready = c.op(f"icmp sge i64 {done}, {chunks}")
    c.emit(f"br i1 {ready}, label %ready, label %again")
    c.label("again")
    c.emit("call void @cnnjax_yield()")
    c.emit("br label %wait")
    c.label("ready")
    with c.when(shared):
        c.emit(f"call void @{name}_let_go(ptr {job})")
    if plan.finished_size:
        with c.loop(0, copies) as copy:
            operands = (data(first), steps["step_in"]), (made, step_out), (out, plan.finished_size)
            pointers = ", ".join(f"ptr {c.at(pointer, c.mul(copy, step))}" for pointer, step in operands)
            c.emit(f"call void @{kernel}_finish({pointers}, i64 {parts}, i64 {units})")
    elif plan.sums:
        _add_up(c, made, out, copies, parts, plan.out_size)
    c.emit("ret ptr null")
    texts = (_work(kernel, plan, name), _let_go(name), _forget(name, header), c.function(f"ptr @{name}(ptr %frame)"))
    return "".join(texts)


def _power_of_two(c: Code, number: Number) -> Number:
    """The largest power of two up to a number; 0 of 0."""
    zeros = c.op(f"call i64 @llvm.ctlz.i64(i64 {number}, i1 false)")
    power = c.op(f"shl i64 1, {c.op(f'and i64 {c.sub(63, zeros)}, 63')}")
    return c.max(c.min(power, number), 0)


def _answer_metadata(c: Code, header: Header) -> None:
    """XLA asks once for the version of the interface: the one that the layouts are of."""
    at = lambda p, offset: c.at(p, offset, "i8")  # noqa: E731
    extension = c.load("ptr", at("%frame", header["CallFrame"]["extension_start"]), 8)
    base = header["Extension_Base" if "Extension_Base" in header.structs else "InternalExtension"]
    names = ("Extension_Metadata", "InternalExtension_Metadata")
    asked = c.op(f"icmp ne ptr {extension}, null")
    with c.when(asked):
        kind = c.load("i32", at(extension, base["type"]), 4)
        c.emit(f"br i1 {c.op(f'icmp eq i32 {kind}, {header.constant(*names)}')}, label %metadata, label %run")
        c.label("metadata")
        metadata = c.load("ptr", at(extension, header["Metadata_Extension"]["metadata"]), 8)
        version = at(metadata, header["Metadata"]["api_version"])
        for field, number in zip(("major_version", "minor_version"), header.version, strict=True):
            c.store("i32", number, at(version, header["Api_Version"][field]), 4)
        c.store("i32", 0, at(metadata, header["Metadata"]["traits"]), 4)
        c.emit("ret ptr null")
        c.label("run")


def _threads(c: Code, header: Header, api: str, context: str) -> str:
    """How many threads XLA has; one where it does not say."""
    asks = header["ThreadPool_NumThreads_Args"]
    count, question = c.variable("i64"), c.variable(f"[{asks.size} x i8], align 8")
    c.store("i64", 1, count, 8)
    _fill(c, question, asks, {"ctx": context, "num_threads": count})
    function = c.load("ptr", c.at(api, header["Api"]["ThreadPool_NumThreads"], "i8"), 8)
    error = c.op(f"call ptr {function}(ptr {question})")
    with c.when(c.op(f"icmp ne ptr {error}, null")):
        _destroy(c, header, api, error)
    return c.load("i64", count, 8)


def _fill(c: Code, pointer: str, struct: Struct, fields: dict[str, str]) -> None:
    """The arguments of a function of XLA's: size, no extension, and pointers."""
    c.store("i64", struct.size, c.at(pointer, struct["struct_size"], "i8"), 8)
    for field, value in {"extension_start": "null", **fields}.items():
        c.store("ptr", value, c.at(pointer, struct[field], "i8"), 8)


def _destroy(c: Code, header: Header, api: str, error: str) -> None:
    struct = header["Error_Destroy_Args"]
    question = c.variable(f"[{struct.size} x i8], align 8")
    _fill(c, question, struct, {"error": error})
    c.emit(f"call void {c.load('ptr', c.at(api, header['Api']['Error_Destroy'], 'i8'), 8)}(ptr {question})")


def _forget(name: str, header: Header) -> str:
    """`void forget(api, error)`: destroys an error."""
    c = Code()
    _destroy(c, header, "%api", "%error")
    c.emit("ret void")
    return c.function(f"internal void @{name}_forget(ptr %api, ptr %error)")


def _let_go(name: str) -> str:
    """`void let_go(job)`: one owner less; the last frees the job."""
    c = Code()
    owners = c.op(f"atomicrmw sub ptr {c.at('%job', _JOB['owners'], 'i8')}, i64 1 acq_rel")
    with c.when(c.op(f"icmp eq i64 {owners}, 1")):
        c.emit("call void @cnnjax_free(ptr %job)")
    c.emit("ret void")
    return c.function(f"internal void @{name}_let_go(ptr %job)")


def _work(kernel: str, plan: Plan, name: str) -> str:
    """`void work(job)`: chunks until none is left; and `void task(job)`: the same, then lets go of the job."""
    c = Code()
    place = lambda field: c.at("%job", _JOB[field], "i8")  # noqa: E731
    chunks, parts, units = (c.load("i64", place(field), 8) for field in ("chunks", "parts", "units"))
    operands = _OPERANDS if plan.third_size else _OPERANDS[:3]
    pointers = [(c.load("ptr", place(p), 8), c.load("i64", place(f"step_{p}"), 8)) for p in operands]
    own = []
    if plan.scratch:
        worker = c.op(f"atomicrmw add ptr {place('workers')}, i64 1 acq_rel")
        own = [c.at(c.load("ptr", place("scratch"), 8), c.mul(worker, plan.scratch))]
    c.emit("br label %take")
    c.label("take")
    chunk = c.op(f"atomicrmw add ptr {place('next')}, i64 1 acq_rel")
    c.emit(f"br i1 {c.op(f'icmp slt i64 {chunk}, {chunks}')}, label %work, label %leave")
    c.label("work")
    copy, part = c.div(chunk, parts), c.rest(chunk, parts)
    begin, end = (c.div(c.mul(k, units), parts) for k in (part, c.add(part, 1)))
    operands = [c.at(pointer, c.mul(copy, step)) for pointer, step in pointers]
    if plan.sums:
        operands[2] = c.at(operands[2], c.mul(part, plan.out_size))
    call = [*(f"ptr {p}" for p in operands), f"i64 {begin}", f"i64 {end}", *(f"ptr {p}" for p in own)]
    c.emit(f"call void @{kernel}({', '.join(call)})")
    c.op(f"atomicrmw add ptr {place('done')}, i64 1 acq_rel")
    c.emit("br label %take")
    c.label("leave")
    c.emit("ret void")
    text = c.function(f"internal void @{name}_work(ptr %job)")
    c = Code()
    for function in ("work", "let_go"):
        c.emit(f"call void @{name}_{function}(ptr %job)")
    c.emit("ret void")
    return text + c.function(f"internal void @{name}_task(ptr %job)")


def _add_up(c: Code, made: str, out: str, copies: Number, parts: Number, size: int) -> None:
    """The sum of the chunks' sums for each copy, always in the same order."""
    lanes = next(n for n in (16, 8, 4, 1) if size % n == 0)
    kind = f"<{lanes} x float>"
    total = c.variable(kind)
    with c.loop(0, copies) as copy:
        source, target = c.at(made, c.mul(copy, c.mul(parts, size))), c.at(out, c.mul(copy, size))
        with c.loop(0, size, lanes) as e:
            c.store(kind, "zeroinitializer", total, 4 * lanes)
            with c.loop(0, parts) as k:
                term = c.load(kind, c.at(source, c.add(c.mul(k, size), e)))
                held = c.load(kind, total, 4 * lanes)
                c.store(kind, c.op(f"fadd {kind} {held}, {term}"), total, 4 * lanes)
            c.store(kind, c.load(kind, total, 4 * lanes), c.at(target, e))


def module(texts: list[str]) -> str:
    """A module of these functions, with what they call."""
    vectors = [f"<{n} x float>" for n in (4, 8, 16)]
    lines = [
        *(f"declare {v} @llvm.fma.v{n}f32({v}, {v}, {v})" for n, v in zip((4, 8, 16), vectors, strict=True)),
        "declare i64 @llvm.ctlz.i64(i64, i1)",
        "declare i64 @llvm.smin.i64(i64, i64)",
        "declare i64 @llvm.smax.i64(i64, i64)",
        *(f"declare i1 @llvm.vector.reduce.or.v{n}i1(<{n} x i1>)" for n in (4, 8, 16)),
        "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)",
        "declare void @llvm.prefetch.p0(ptr, i32, i32, i32)",
        "declare ptr @cnnjax_malloc(i64)",
        "declare void @cnnjax_free(ptr)",
        "declare void @cnnjax_yield()",
        *texts,
        'attributes #0 = { nounwind "prefer-vector-width"="512" "min-legal-vector-width"="512" }',
    ]
    return "\n".join(lines)
