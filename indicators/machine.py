"""The compiled kernels without the compiler: object code out of the cache, loaded by llvmlite alone.

numba makes the code once, at set-up (`indicators.kernels.object_code`). A stage that only loads it is spared numba's
import, half a second and 40 MB at each start; calls cost the same. Buffers are handed over as one arena
(`layout.new_arena`), whose address is bound once.
"""

import ctypes
import os
from collections.abc import Callable
from functools import partial

import llvmlite.binding as llvm
import msgspec

from indicators.layout import Array

Fold = Callable[[bytes, int, int, int], int]
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
    os.write(2, b"indicators: the compiled kernel raised an error, which it cannot\n")
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


class Machine:
    """The compiled kernels, callable as long as this lives.

    fold_at, describe_at: addresses of their entries; `owner` is what the code is in.
    """

    def __init__(self, fold_at: int, describe_at: int, owner: object) -> None:
        self._owner = owner
        self._fold = ctypes.PYFUNCTYPE(_int64, _address, ctypes.c_char_p, _int64, _int64, _int64)(fold_at)
        self._describe = ctypes.PYFUNCTYPE(None, _address, _address, _int64, _address)(describe_at)

    @classmethod
    def of(cls, code: Code) -> "Machine":
        """The machine of an object file."""
        target = target_machine()
        for name in NEVER_CALLED:
            if llvm.address_of_symbol(name) is None:  # with numba in the process its own stand there
                llvm.add_symbol(name, ctypes.cast(_stub, _address).value)
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target)
        engine.add_object_file(llvm.ObjectFileRef.from_data(code.object))
        engine.finalize_object()
        return cls(engine.get_function_address(code.fold), engine.get_function_address(code.describe), engine)

    def fold(self, arena: Array) -> Fold:
        """`folding.fold` over this arena, which must outlive it: called with frame, its bytes, first number, start."""
        return partial(self._fold, _address(arena.ctypes.data))

    def describe(self, arena: Array) -> Describe:
        """`describe.describe` over this arena: called with wanted pairs, their count, words for rows."""

        def call(wanted: Array, count: int, rows: Array) -> None:
            self._describe(arena.ctypes.data, wanted.ctypes.data, count, rows.ctypes.data)

        return call
