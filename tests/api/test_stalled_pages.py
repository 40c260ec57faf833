"""Pages that read nothing: they hold little, hold up nobody, and are let go of."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn

from bus.messages import Event
from dashboard.listen import open_socket
from dashboard.page import Page
from dashboard.routes import create_app
from dashboard.stream import MAX_CLIENTS
from tests.dashboard_world import healthy, page, view
from tests.operator_world import House

ASK = b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n"
MB = 1024 * 1024


class Quiet(uvicorn.Server):
    """A server whose signals are the test's business."""

    def install_signal_handlers(self) -> None:
        pass


@asynccontextmanager
async def served(of: Page, stalled_ms: int) -> AsyncIterator[int]:
    """The page on a port of its own."""
    sock = open_socket("127.0.0.1", 0, stalled_ms)
    config = uvicorn.Config(
        create_app(of, "testbox", (), House(of.clock).operating),
        log_config=None,
        lifespan="off",
        timeout_graceful_shutdown=1,
        ws="none",
    )
    server = Quiet(config)
    serving = asyncio.ensure_future(server.serve(sockets=[sock]))
    try:
        yield int(sock.getsockname()[1])
    finally:
        of.broadcaster.close()
        server.should_exit = True
        await serving
        sock.close()


def stalled(port: int) -> socket.socket:
    """A page that asks for the stream and never reads it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    sock.sendall(ASK)
    return sock


def anonymous_bytes() -> int:
    """What this process holds that is in no file."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))


async def until(condition: object) -> None:
    for _ in range(3000):
        if condition():  # type: ignore[operator]
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


def say(of: Page, number: int) -> None:
    """News of 50 kB: a price and fifty long events."""
    of.state.fold_view(view(float(number), number=number), of.clock.monotonic_ns())
    of.state.fold_event(Event("feeder", "info", f"{number}" + "x" * 1000, number))
    of.show(lambda _: None)


def test_pages_that_read_nothing_hold_little_and_the_one_that_reads_gets_everything_new() -> None:
    async def scene() -> None:
        of = healthy(page())
        async with served(of, stalled_ms=600_000) as port:
            pages = [stalled(port) for _ in range(MAX_CLIENTS - 1)]
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4 * MB)
            writer.write(ASK)
            await until(lambda: of.broadcaster.clients == MAX_CLIENTS)
            for number in range(100, 200):
                say(of, number)
                await asyncio.sleep(0)
            before = anonymous_bytes()
            for number in range(200, 1000):  # 40 MB of news for each
                say(of, number)
                await reader.readuntil(b'"price":%d' % number)
            grown = anonymous_bytes() - before
            assert grown < 64 * MB, f"{len(pages)} pages that do not read hold {grown / MB:.0f} MB"
            writer.close()
            for sock in pages:
                sock.close()

    asyncio.run(scene())


def test_a_page_that_takes_nothing_for_long_is_cut_off_and_leaves_its_place() -> None:
    async def scene() -> None:
        of = healthy(page())
        async with served(of, stalled_ms=500) as port:
            pages = [stalled(port) for _ in range(4)]
            await until(lambda: of.broadcaster.clients == len(pages))
            number = 100

            def gone() -> bool:
                nonlocal number
                number += 1
                say(of, number)
                return of.broadcaster.clients == 0

            await until(gone)
            for sock in pages:
                sock.close()

    asyncio.run(scene())
