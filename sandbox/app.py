"""The local exchange: a market source, its clock, the hub and one face, served over loopback.

It is a program, not a stage of the bus: what it says it says over the venue's own wire protocol.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple, cast

import uvicorn
from fastapi import FastAPI, WebSocket

from core.aloop import AsyncLoop
from core.clock import NS_PER_S, Clock, iso_utc
from core.errors import MisconfiguredError, NotCalledFor
from core.pairs import own_name
from core.paths import absolute
from core.ports import port_holder
from core.sandbox_keys import API_KEY, SECRET_KEY
from core.settings import Settings
from core.stage import Context
from sandbox.clock import MarketClock, RealClock
from sandbox.control import Control
from sandbox.exchange.books import FILE, Books
from sandbox.exchange.exchange import Exchange
from sandbox.exchange.orders import ATOMS
from sandbox.exchange.profiles import PROFILES
from sandbox.exchange.steps import Steps
from sandbox.faces.binance import add_binance
from sandbox.faces.binance_socket import PING_S, PONG_S
from sandbox.faces.coindcx_private import PrivateFace
from sandbox.faces.coindcx_public import PublicFace
from sandbox.faces.coindcx_stream import Stream, opener
from sandbox.faces.kraken import add_kraken
from sandbox.faults import Faults, scheduled
from sandbox.gate import Gate
from sandbox.hub import Hub, Open, Timers
from sandbox.listings import listings_of
from sandbox.market import Synthetic
from sandbox.place import Place
from sandbox.standing import Standing
from sandbox.tape_market import TapeMarket, read_recording
from sandbox.trades import Market
from sandbox.world import TapeWorld, born_ms

HOST = "127.0.0.1"
START = Decimal(10_500)  # of each quote currency, where no settings say otherwise
GRACE_S = 1  # for answers under way when told to stop
KEEP_ALIVE_S = 65  # how long an idle connection stays open, as at the venues


class World(NamedTuple):
    """A market source with its clock; `tape` where it is a recording."""

    market: Market
    clock: MarketClock
    tape: TapeWorld | None


class Server(uvicorn.Server):
    """uvicorn whose signals are the stage's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def check(settings: Settings) -> None:
    """Raises NotCalledFor unless these settings want a sandbox, MisconfiguredError where this release has none such."""
    if settings.venue != "sandbox":
        raise NotCalledFor(f"VENUE={settings.venue}: the local exchange is not called for")
    if settings.sandbox_protocol not in FACES:
        raise MisconfiguredError(
            f"SANDBOX_PROTOCOL={settings.sandbox_protocol}: in this release the sandbox speaks {', '.join(FACES)}"
        )


def open_world(settings: Settings, folder: Path, clock: Clock, log: logging.Logger) -> World:
    """The market that the settings ask for, as this book left it.

    Raises MisconfiguredError where its tape cannot be read.
    """
    if not settings.sandbox_tape:
        born = born_ms(folder, settings.sandbox_seed, clock)
        log.info("synthetic market, seed %d, born %s", settings.sandbox_seed, iso_utc(born))
        if settings.sandbox_speed != 1:
            log.warning("SANDBOX_SPEED=%g is for recorded trades (SANDBOX_TAPE): ignored", settings.sandbox_speed)
        listings = listings_of(settings.sandbox_protocol)
        return World(Synthetic(settings.sandbox_seed, born, listings), RealClock(clock), None)
    path = absolute(settings.sandbox_tape)
    recording = read_recording(path, settings.pairs[0])
    pair = own_name(settings.pairs[0], "coindcx")  # the markets of both sources are named so, under every protocol
    if recording.unsorted:
        log.warning("%s: %d trades stood after a younger one and were sorted", path.name, recording.unsorted)
    market = TapeMarket(recording, pair)
    tape = TapeWorld(folder, path.name, len(market), (market.first_ms, market.last_ms), settings.sandbox_speed, clock)
    log.info(
        "plays %s as %s at %gx: %d trades, %s to %s; %s",
        path.name,
        pair,
        settings.sandbox_speed,
        len(market),
        iso_utc(market.first_ms),
        iso_utc(market.last_ms),
        f"goes on at {iso_utc(tape.clock.now_ms())}" if tape.resumed else "starts at the first join",
    )
    return World(market, tape.clock, tape)


def open_exchange(world: World, protocol: str, folder: Path | None, balance: Decimal = START) -> Exchange:
    """The exchange of a world as its books in `folder` have it (None: in memory, anew).

    Its one account has the sandbox's keys and begins with `balance` of every quote currency. Raises MisconfiguredError
    where the books are no use.
    """
    return Exchange(
        world.market,
        PROFILES[protocol],
        Books(folder / FILE if folder else None),
        {API_KEY: SECRET_KEY},
        {rules.quote: int(balance * ATOMS) for rules in world.market.rules.values()},
        world.clock.now_ms(),
        world.clock.speed,
    )


def build_app(
    world: World,
    clock: Clock,
    log: logging.Logger,
    timers: Timers | None = None,
    protocol: str = "coindcx",
    exchange: Exchange | None = None,
    faults: Faults | None = None,
) -> tuple[Gate, Hub]:
    """The face of a protocol over a world; to be called inside the loop that serves it."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    keep = world.tape.keep if world.tape else None
    timers = timers or asyncio.get_running_loop()
    exchange = exchange or open_exchange(world, protocol, None)

    def hub_of(open_channel: Open) -> Hub:
        return Hub(world.market, world.clock, open_channel, timers, on_start=keep, on_held=keep)

    faults = faults or Faults()
    steps = Steps(exchange, world.clock, timers)
    hub = FACES[protocol](app, Place(world.market, world.clock, clock, exchange, log, hub_of, faults))
    control = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    gate = Gate(app, control, protocol, faults, lambda: clock.monotonic_ns() / NS_PER_S)
    standing = Standing(faults, exchange, world.market, gate, timers)
    standing.settle()
    Control(faults, standing, exchange, world.clock).add_to(control)
    gate.on_close += [steps.close, standing.close, exchange.close]
    return gate, hub


def _coindcx(app: FastAPI, place: Place) -> Hub:
    hub = place.hub_of(opener(place.market))
    PublicFace(place).add_to(app)
    PrivateFace(place).add_to(app)
    stream = Stream(place, hub)

    @app.websocket("/socket.io/")
    async def socket_io(websocket: WebSocket) -> None:
        await stream.serve(websocket)

    return hub


Face = Callable[[FastAPI, Place], Hub]  # adds its routes; the hub that tells its trades
FACES: dict[str, Face] = {"coindcx": _coindcx, "binance": add_binance, "kraken": add_kraken}
# Where the protocol pings with websocket frames: (how often, answered within) in seconds.
PINGS = {"binance": (PING_S, PONG_S)}
NAMES = {"coindcx": "CoinDCX", "binance": "Binance", "kraken": "Kraken"}


def config(app: Gate, pings: tuple[float, float] | None = None) -> uvicorn.Config:
    """uvicorn as an exchange on loopback needs it; the clock of its answers is the market's. pings: as in PINGS."""
    interval_s, timeout_s = pings or (None, None)
    return uvicorn.Config(
        app,
        ws="websockets-sansio",
        ws_max_size=1_000_000,
        ws_per_message_deflate=False,
        ws_ping_interval=interval_s,
        ws_ping_timeout=timeout_s,
        access_log=False,
        log_config=None,
        log_level="warning",
        date_header=False,
        server_header=False,
        lifespan="off",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )


def listen(port: int) -> socket.socket:
    """The sandbox's socket.

    Raises MisconfiguredError naming the setting where the port is taken.
    """
    # By its protocol asyncio knows to switch Nagle's algorithm off: else an answer's body comes 40 ms after its head.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(256)
    except OSError as error:
        listener.close()
        holder = port_holder(port)
        by = f" by {holder}" if holder else ""
        raise MisconfiguredError(
            f"SANDBOX_PORT={port} cannot be had on {HOST}: {error.strerror}{by}. Stop what uses it or set another."
        ) from error
    listener.setblocking(False)
    return listener


async def main(context: Context) -> None:
    """Serves until told to stop."""
    settings, log = context.settings, context.log
    check(settings)
    listener = listen(settings.sandbox_port)
    context.on_stop(listener.close)
    world = open_world(settings, context.book_dir, context.clock, log)
    protocol = settings.sandbox_protocol
    exchange = open_exchange(world, protocol, context.book_dir, settings.paper_balance)
    faults = Faults(settings.sandbox_seed)
    for fault in scheduled(context.book_dir):
        faults.add(fault, context.clock.monotonic_ns() / NS_PER_S)
        log.warning("scheduled: %s", fault)
    app, hub = build_app(world, context.clock, log, context.loop, protocol, exchange, faults)
    server = Server(config(app, PINGS.get(protocol)))
    if world.tape is not None:
        _watch_tape(context, world.tape, hub)
    log.info("%s on http://%s:%d", NAMES[protocol], HOST, settings.sandbox_port)
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    stopped = asyncio.ensure_future(cast("AsyncLoop", context.loop).wait_stopped())
    await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
    hub.close()
    server.should_exit = True
    await serving
    app.close()
    stopped.cancel()


def _watch_tape(context: Context, tape: TapeWorld, hub: Hub) -> None:
    """Says once that the tape has ended, and keeps its place at an orderly stop."""
    said: list[bool] = []

    def look() -> None:
        if tape.clock.ended and not said:
            said.append(True)
            context.event("info", f"the tape has ended: {hub.told} trades told since this start; silent from now on")

    context.loop.every(0.5, look)
    context.on_stop(tape.pause)
