"""How long the kernel lets a thread run at a stretch while others wait for the processor.

From Linux 6.12 on a thread may ask for a shorter slice than the usual one of 1 to 3 ms. That needs no rights and
changes no share of the processor: who wakes with a shorter slice than the one that runs gets the processor at once.
Otherwise it waits behind that one, often even while another processor is idle. So a trade waits less for what else is
going on.
"""

import ctypes
import os
import struct

SLICE_NS = 200_000
_SCHED_ATTR = struct.Struct("=IIQiIQQQ")  # size, policy, flags, nice, priority, runtime, deadline, period
_RUNTIME = 5  # the slice, for all but deadline threads
# Numbers of sched_setattr and sched_getattr, for which the C library has no functions.
_CALLS = {"x86_64": (314, 315), "aarch64": (274, 275), "armv7l": (380, 381), "armv6l": (380, 381)}


def ask_for_short_slice() -> bool:
    """Asks for SLICE_NS for this thread and all that it starts; False where this kernel does not grant it."""
    calls = _CALLS.get(os.uname().machine)
    attributes = None if calls is None else _attributes(calls[1])
    if calls is None or attributes is None:
        return False
    attributes[_RUNTIME] = SLICE_NS
    ctypes.CDLL(None).syscall(calls[0], 0, _SCHED_ATTR.pack(*attributes), 0)
    return slice_ns() == SLICE_NS


def slice_ns() -> int:
    """This thread's slice; 0 where the kernel does not tell."""
    calls = _CALLS.get(os.uname().machine)
    attributes = None if calls is None else _attributes(calls[1])
    return 0 if attributes is None else int(attributes[_RUNTIME])


def _attributes(get_call: int) -> list[int] | None:
    """This thread's struct sched_attr, None where it cannot be read."""
    room = ctypes.create_string_buffer(_SCHED_ATTR.size)
    if ctypes.CDLL(None).syscall(get_call, 0, room, _SCHED_ATTR.size, 0) != 0:
        return None
    attributes = list(_SCHED_ATTR.unpack(room.raw))
    attributes[0] = _SCHED_ATTR.size
    return attributes
