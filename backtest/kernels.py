"""Compiling for the backtest: which plain functions numba takes over, and object code out of an entry.

Only who compiles imports this; see `backtest.compiled`.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import cfunc, types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from indicators.kernels import OPTIONS, functions_of
from indicators.machine import target_machine

PLAIN: list[ModuleType] = []  # modules whose functions are compiled where an entry calls them


def plain(*modules: ModuleType, inline: bool = False, without: tuple[str, ...] = ()) -> None:
    """Have the functions of these modules compiled where an entry calls them; those of `indicators` are already.

    They own no memory, so none is counted (_nrt): counting who holds which array would cost more than all else, and a
    function that makes an array does not compile. inline: always into their caller, all of them; where it is not said,
    those that the module names in INLINED. A call hands over each array of a Book in seven words; but what is called
    from many places would make the code several times as long. without: names of those that the entry has something
    else for.
    """
    for module in modules:
        if module not in PLAIN:
            PLAIN.append(module)
            for function in functions_of(module):
                name = function.__name__
                if name not in without:
                    inlined = inline or name in getattr(module, "INLINED", ())
                    register_jitable(**OPTIONS, _nrt=False, forceinline=inlined)(function)


def compiled(function: Callable[..., int], arguments: int) -> Any:
    """An entry compiled into this process."""
    return cfunc(types.int64(*[types.int64] * arguments), **OPTIONS)(function)


def object_code(made: Any) -> tuple[str, bytes]:
    """The name of a compiled entry and its object code for this machine's processor."""
    # What numba hands out is optimised and has all that is called linked in.
    return made.native_name, target_machine().emit_object(llvm.parse_assembly(made.inspect_llvm()))


@intrinsic
def prefetch(_, array, index):  # type: ignore[no-untyped-def]
    """Have the processor fetch an element into its caches; an index beyond the array does no harm."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        data = context.make_array(array)(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), cgutils.voidptr_t)
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        read, keep_near, data_cache = ir.Constant(number, 0), ir.Constant(number, 3), ir.Constant(number, 1)
        builder.call(function, [address, read, keep_near, data_cache])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate
