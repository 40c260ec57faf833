"""The sandbox's listening socket."""

import socket

from sandbox.app import listen


def test_its_answers_do_not_wait_for_acknowledgements():
    """asyncio sets TCP_NODELAY where a connection's protocol is told; it inherits that of the listener."""
    with listen(0) as listener, socket.create_connection(listener.getsockname()):
        listener.settimeout(5)
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.proto == socket.IPPROTO_TCP
