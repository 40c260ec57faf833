"""The compiled kernels without the compiler: object code out of the cache, loaded by llvmlite alone.

numba makes the code once, at set-up (`indicators.kernels.object_code`). A stage that only loads it is spared numba's
import, half a second and 40 MB at each start; calls cost the same. Buffers are handed over as one arena
(`layout.new_arena`), whose address is bound once.
"""

import ctypes
import os
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import msgspec

from indicators.layout import Array

Fold = Callable[[bytes, int, int], int]
Describe = Callable[[Array, int, Array], None]

# What compiled code calls when it raises, or frees memory of its own: the kernels do neither, yet the code names them.
NEVER_CALLED = (
    "NRT_Allocate",
    "NRT_Free",
    "NRT_MemInfo_call_dtor",
    "NRT_decref",
    "NRT_incref",
    "numba_do_raise",
    "numba_gil_ensure",
    "numba_gil_release",
    "numba_runtime_build_excinfo_struct",
    "numba_unpickle",
)


def _called_all_the_same() -> None:
    os.write(2, b"the compiled code raised an error, which it cannot\n")
    os.abort()


_stub = ctypes.PYFUNCTYPE(None)(_called_all_the_same)
_int64, _address = ctypes.c_int64, ctypes.c_void_p


class Code(msgspec.Struct, array_like=True, frozen=True):
    """Compiled kernels: the names of their entries and the object file that holds them."""

    fold: str
    describe: str
    object: bytes


def processor() -> tuple[str, str]:
    """Name and features of this machine's processor; empty features where LLVM cannot tell."""
    try:
        return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    except RuntimeError:
        return llvm.get_host_cpu_name(), ""


def target_machine() -> llvm.TargetMachine:
    """This machine's processor, as code is made for it and loaded on it; with the options that numba uses itself."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    name, features = processor()
    relocation = "static" if target.name.startswith("x86") else "default"
    return target.create_target_machine(
        cpu=name, features=features, opt=3, reloc=relocation, codemodel="jitdefault", jit=True
    )


# A built-in function of Python over `fold`: called through ctypes, five arguments cost more than folding a trade.
# `self` is the arena's address as a Python int, the arguments are frame, first number, start.
CALLER = """
define ptr @call(ptr %self, ptr %arguments, i64 %count) {{
  %three = icmp eq i64 %count, 3
  br i1 %three, label %read, label %wrong
wrong:
  call i32 inttoptr (i64 {PyErr_BadArgument} to ptr)()
  ret ptr null
read:
  %frame = load ptr, ptr %arguments
  %at = call i64 inttoptr (i64 {PyBytes_AsString} to ptr)(ptr %frame)
  %none = icmp eq i64 %at, 0
  br i1 %none, label %failed, label %fold
fold:
  %size = call i64 inttoptr (i64 {PyBytes_Size} to ptr)(ptr %frame)
  %second = getelementptr ptr, ptr %arguments, i64 1
  %third = getelementptr ptr, ptr %arguments, i64 2
  %first_object = load ptr, ptr %second
  %start_object = load ptr, ptr %third
  %first = call i64 inttoptr (i64 {PyLong_AsLongLong} to ptr)(ptr %first_object)
  %start = call i64 inttoptr (i64 {PyLong_AsLongLong} to ptr)(ptr %start_object)
  %arena = call i64 inttoptr (i64 {PyLong_AsLongLong} to ptr)(ptr %self)
  %error = call ptr inttoptr (i64 {PyErr_Occurred} to ptr)()
  %fine = icmp eq ptr %error, null
  br i1 %fine, label %go, label %failed
go:
  %written = call i64 inttoptr (i64 {fold} to ptr)(i64 %arena, i64 %at, i64 %size, i64 %first, i64 %start)
  %result = call ptr inttoptr (i64 {PyLong_FromLongLong} to ptr)(i64 %written)
  ret ptr %result
failed:
  ret ptr null
}}
"""
OF_PYTHON = (
    "PyErr_BadArgument",
    "PyErr_Occurred",
    "PyBytes_AsString",
    "PyBytes_Size",
    "PyLong_AsLongLong",
    "PyLong_FromLongLong",
)
METH_FASTCALL = 0x80


class MethodDef(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = (("name", ctypes.c_char_p), ("function", _address), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p))


_new_function = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.POINTER(MethodDef), ctypes.py_object, _address)(
    ("PyCFunction_NewEx", ctypes.pythonapi)
)


def engine_of(module: llvm.ModuleRef, code: bytes = b"") -> Any:
    """A module, and an object file where there is one, loaded to be run."""
    engine = llvm.create_mcjit_compiler(module, target_machine())
    if code:
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


def loaded(code: bytes) -> Any:
    """An object file as numba makes it, loaded to be run without numba."""
    for name in NEVER_CALLED:
        if llvm.address_of_symbol(name) is None:  # with numba in the process its own stand there
            llvm.add_symbol(name, ctypes.cast(_stub, _address).value)
    return engine_of(llvm.parse_assembly(""), code)


class Machine:
    """The compiled kernels, callable as long as this lives.

    fold_at, describe_at: addresses of their entries; `owner` is what the code is in.
    """

    def __init__(self, fold_at: int, describe_at: int, owner: object) -> None:
        addresses = {name: ctypes.cast(ctypes.pythonapi[name], _address).value for name in OF_PYTHON}
        caller = engine_of(llvm.parse_assembly(CALLER.format(fold=fold_at, **addresses)))
        self._owner = owner, caller
        self._fold = MethodDef(b"fold", caller.get_function_address("call"), METH_FASTCALL, None)
        self._describe = ctypes.PYFUNCTYPE(None, _address, _address, _int64, _address)(describe_at)

    @classmethod
    def of(cls, code: Code) -> "Machine":
        """The machine of an object file."""
        engine = loaded(code.object)
        return cls(engine.get_function_address(code.fold), engine.get_function_address(code.describe), engine)

    def fold(self, arena: Array) -> Fold:
        """`folding.fold` over this arena, which must outlive it: called with frame, first number, start."""
        return _new_function(self._fold, arena.ctypes.data, None)  # type: ignore[no-any-return]

    def describe(self, arena: Array) -> Describe:
        """`describe.describe` over this arena: called with wanted pairs, their count, words for rows."""

        def call(wanted: Array, count: int, rows: Array) -> None:
            self._describe(arena.ctypes.data, wanted.ctypes.data, count, rows.ctypes.data)

        return call
