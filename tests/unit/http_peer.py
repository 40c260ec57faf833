"""A local HTTP server that misbehaves as told: scripted bytes for each request, and a count of what arrived."""

import contextlib
import socket
import ssl
import threading
import time


class Cut(bytes):
    """An answer after which the connection is closed."""


class Server:
    """Answers each connection's requests with the given bytes, one after the other; keeps every request with its body.

    An answer may be a list of pieces, sent `drip_s` apart. b"" closes the connection in place of an answer.
    """

    def __init__(self, *answers, hold: bool = False, drip_s: float = 0.05, routes=None, tls=None) -> None:
        self.answers = list(answers)
        self.routes: dict[str, list] = routes or {}  # by path: answers that go before; the last one stays
        self.hold = hold  # read, answer nothing, keep the connection
        self.drip_s = drip_s
        self.requests: list[bytes] = []  # heads
        self.bodies: list[bytes] = []
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.cut = 0  # connections that this side closed
        self.ended = 0  # connections that the client closed
        self._tls = None
        if tls is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*tls)
        self.base = f"http{'s' if tls else ''}://127.0.0.1:{self._socket.getsockname()[1]}"
        self.url = self.base + "/x"
        self._open: list[socket.socket] = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self._open.append(connection)
                self.connections += 1
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            buffer = b""
            while True:
                while b"\r\n\r\n" not in buffer:
                    buffer += self._more(connection)
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")), 0
                )
                while len(buffer) < length:
                    buffer += self._more(connection)
                body, buffer = buffer[:length], buffer[length:]
                self.requests.append(head)
                self.bodies.append(body)
                if self.hold:
                    continue
                answer = self._next(head)
                if answer:
                    self._send(connection, answer)
                if not answer or isinstance(answer, Cut):
                    connection.shutdown(socket.SHUT_RDWR)
                    connection.close()
                    self.cut += 1
                    return

    def _next(self, head: bytes):
        """The answer to a request; a route's may be a function of the request's body."""
        routed = self.routes.get(head.split(b" ")[1].decode().partition("?")[0])
        if routed:
            answer = routed.pop(0) if len(routed) > 1 else routed[0]
            return answer(self.bodies[-1]) if callable(answer) else answer
        return self.answers.pop(0) if self.answers else b""

    def _more(self, connection: socket.socket) -> bytes:
        data = connection.recv(65536)
        if not data:
            self.ended += 1
            raise OSError("over")
        return data

    def _send(self, connection: socket.socket, answer) -> None:
        if isinstance(answer, bytes):
            connection.sendall(answer)
            return
        for piece in answer:
            connection.sendall(piece)
            if self._closing.wait(self.drip_s):
                return

    def lines(self) -> list[str]:
        """The request lines that arrived."""
        return [head.split(b"\r\n")[0].decode() for head in self.requests]

    def close(self) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
        self._socket.close()
        for connection in self._open:
            connection.close()
        self._thread.join(1)


def http(status: int, body: bytes, kind: str = "application/json", length: int | None = None, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"Content-Type: {kind}"] if kind else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def drip(answer: bytes, pieces: int) -> list[bytes]:
    """The same bytes in so many pieces, the last one left out: it never ends."""
    size = max(1, len(answer) // pieces)
    return [answer[at : at + size] for at in range(0, len(answer), size)][:-1]


def until(condition, seconds: float = 10.0):
    """Waits for a condition, with a deadline."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)
