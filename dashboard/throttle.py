"""Who guesses waits: a few free tries, then growing pauses, for each address and over all of them; pure.

* The first FREE_TRIES failures of an address cost nothing; each further one doubles its pause, to LONGEST_S at most.
* All addresses together have ALL_FREE_TRIES, then pauses to ALL_LONGEST_S at most: many addresses guess no faster.
* In a pause nothing is looked at, the right password neither; a try in a pause does not lengthen it.
* A success clears its address, and FORGET_S without a failure clears anything.
* An IPv6 network of 64 bits, which one customer has, counts as one address. At most ADDRESSES are kept, the longest
  quiet one goes first.
"""

import ipaddress
from collections import OrderedDict

FREE_TRIES, LONGEST_S = 5, 300
ALL_FREE_TRIES, ALL_LONGEST_S = 50, 30
FORGET_S = 3600
ADDRESSES = 1_000
_NS = 1_000_000_000


class _Failures:
    """Failures in a row and when the latest one was; monotonic ns."""

    __slots__ = ("count", "last_ns")

    def __init__(self) -> None:
        self.count = 0
        self.last_ns = 0

    def add(self, now_ns: int) -> None:
        if now_ns - self.last_ns > FORGET_S * _NS:
            self.count = 0
        self.count += 1
        self.last_ns = now_ns

    def wait_s(self, now_ns: int, free: int, longest_s: int) -> float:
        if self.count < free or now_ns - self.last_ns > FORGET_S * _NS:
            return 0.0
        pause_s = min(longest_s, 1 << min(self.count - free, 20))
        return max(0.0, pause_s - (now_ns - self.last_ns) / _NS)


class Throttle:
    """Counts failures; every method takes the monotonic time."""

    def __init__(self) -> None:
        self._addresses: OrderedDict[str, _Failures] = OrderedDict()
        self._all = _Failures()

    def wait_s(self, address: str, now_ns: int) -> float:
        """Seconds until this address may try; 0.0 where it may now."""
        own = self._addresses.get(network(address), _Failures())
        together = self._all.wait_s(now_ns, ALL_FREE_TRIES, ALL_LONGEST_S)
        return max(own.wait_s(now_ns, FREE_TRIES, LONGEST_S), together)

    def failed(self, address: str, now_ns: int) -> None:
        """A try was wrong."""
        name = network(address)
        self._addresses.setdefault(name, _Failures()).add(now_ns)
        self._addresses.move_to_end(name)
        if len(self._addresses) > ADDRESSES:
            self._addresses.popitem(last=False)
        self._all.add(now_ns)

    def succeeded(self, address: str) -> None:
        """A try was right; what others guessed still counts."""
        self._addresses.pop(network(address), None)


def network(address: str) -> str:
    """What counts as one: an IPv4 address, an IPv6 network of 64 bits, any other text as it is."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((found, 64), strict=False))
