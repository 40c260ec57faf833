"""CoinDCX's socket.io connection against a local server: both versions, the fall-back, the account's channel."""

import asyncio
import contextlib
import json

import pytest
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from core.clock import LiveClock, ManualClock
from core.settings_load import from_texts
from tests.coindcx_data import BALANCE, ORDER, RULES, UPDATE
from venues.account import FILLED, OrderNews
from venues.choose import account as choose_account
from venues.choose import market_data
from venues.coindcx.adapter import CoinDcxStream
from venues.errors import Misconfigured, RateLimited, Rejected, Retry
from venues.stream import open_socket
from venues.venue import Notice, Trade

HELLO = json.dumps({"sid": "x", "upgrades": [], "pingInterval": 25000, "pingTimeout": 20000})
ALIKE = "alike"  # a server that treats another version like its own


class Peer:
    """A server of one Engine.IO version, hand-written; `other` is what it does with a client of another one."""

    def __init__(self, version=4, other=ALIKE, refused_keys=False):
        self.version = version
        self.other = other  # alike, "cuts" what asks, "400", "503", "429", "closes", "closes at once", "silent"
        self.refused_keys = refused_keys
        self.asked = []  # versions, one for each connection
        self.frames = []
        self.open = set()
        self.heard = asyncio.Condition()

    async def __aenter__(self):
        self.server = await serve(self._talk, "127.0.0.1", 0, compression=None, process_request=self._refuse)
        self.url = f"ws://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self.server.close()
        await self.server.wait_closed()

    def _asked(self, path):
        return int(path.partition("EIO=")[2][:1])

    def _refuse(self, connection, request):
        self.asked.append(self._asked(request.path))
        if self.asked[-1] != self.version and self.other.isdecimal():
            return connection.respond(int(self.other), '{"code":5,"message":"Unsupported protocol version"}')
        return None

    async def _talk(self, connection):
        self.open.add(connection)
        with contextlib.suppress(ConnectionClosed):
            if self._asked(connection.request.path) != self.version and self.other not in (ALIKE, "cuts"):
                if self.other != "closes at once":
                    await connection.send("0" + HELLO)
                if self.other != "silent":
                    return
            else:
                await connection.send("0" + HELLO)
                if self.version == 3:
                    await connection.send("40")
            async for frame in connection:
                async with self.heard:
                    self.frames.append(frame)
                    self.heard.notify_all()
                if frame == "40" and self.version == 4:
                    await connection.send('40{"sid":"y"}')
                elif frame == "40" and self.other == "cuts":
                    return  # as seen live: a client of version 3 must not ask
                elif "authSignature" in frame and self.refused_keys:
                    await connection.send("41")
                    return

    async def event(self, name, rows):
        for connection in self.open:
            with contextlib.suppress(ConnectionClosed):
                await connection.send("42" + json.dumps([name, {"event": name, "data": json.dumps(rows)}]))


def settings(peer):
    keys = {"COINDCX_API_KEY": "key-of-coindcx", "COINDCX_SECRET_KEY": "hush"}
    return from_texts(
        {"VENUE": "coindcx", "VENUE_STREAM_URL": peer.url, "VENUE_REST_URL": "http://127.0.0.1:9", **keys}
    )


async def read_trade(peer, stream):
    await peer.event("new-trade", {"p": "81090.88", "q": "0.1", "T": 1788457449084, "m": 1, "s": "B-BTC_USDT"})
    while True:
        for item in await asyncio.wait_for(stream.read(), 10):
            if isinstance(item, Trade):
                return item


async def joined(peer, channel):
    async with asyncio.timeout(10), peer.heard:
        await peer.heard.wait_for(lambda: any(channel in frame for frame in peer.frames))


async def use(stream):
    try:
        while True:
            await asyncio.wait_for(stream.read(), 10)
    finally:
        await stream.close()


# version of the server, what it does with the other one, versions asked for in two connections
FALL_BACKS = {
    "4": (4, "400", [4, 4]),
    "3, refuses 4": (3, "400", [4, 3, 3]),
    "3, closes after the open packet": (3, "closes", [4, 3, 3]),
    "3, closes without a word": (3, "closes at once", [4, 3, 3]),
    "3, takes 4 in as its own": (3, ALIKE, [4, 3]),
}


@pytest.mark.parametrize(("version", "other", "asked"), FALL_BACKS.values(), ids=FALL_BACKS)
def test_the_other_version_is_tried_at_once_and_remembered_while_it_works(version, other, asked):
    async def main():
        async with Peer(version, other) as peer:
            venue = market_data(settings(peer), LiveClock())
            for _ in range(2):
                stream = await venue.open_stream([RULES])
                await joined(peer, "B-BTC_USDT@trades")
                assert (await read_trade(peer, stream)).price == 81090.88
                await stream.close()
                peer.frames.clear()
                peer.open.clear()
            venue.close()
            assert peer.asked == asked
            if version == 3:
                assert "40" not in peer.frames

    asyncio.run(main())


def test_a_server_of_version_3_that_cuts_a_client_of_4_is_asked_for_3_next():
    async def main():
        async with Peer(3, "cuts") as peer:
            venue = market_data(settings(peer), LiveClock())
            with pytest.raises(Retry):
                await use(await venue.open_stream([RULES]))
            stream = await venue.open_stream([RULES])
            await joined(peer, "B-BTC_USDT@trades")
            assert (await read_trade(peer, stream)).price == 81090.88
            await stream.close()
            venue.close()
            assert peer.asked == [4, 3]

    asyncio.run(main())


def test_silence_in_the_handshake_is_given_up_for_the_other_version():
    """By the clock that is handed in: no test waits ten seconds."""

    async def main():
        async with Peer(3, "silent") as peer:
            clock = ManualClock()
            venue = market_data(settings(peer), clock)
            opening = asyncio.create_task(venue.open_stream([RULES]))
            await joined(peer, "40")
            clock.advance(11_000_000_000)
            stream = await asyncio.wait_for(opening, 10)
            assert peer.asked == [4, 3]
            await stream.close()
            venue.close()

    asyncio.run(main())


def test_what_worked_is_dropped_when_the_server_has_changed():
    async def main():
        async with Peer(3, "400") as peer:
            venue = market_data(settings(peer), LiveClock())
            await (await venue.open_stream([RULES])).close()
            peer.version = 4
            await (await venue.open_stream([RULES])).close()
            await (await venue.open_stream([RULES])).close()
            venue.close()
            assert peer.asked == [4, 3, 3, 4, 4]

    asyncio.run(main())


def test_where_neither_version_works_both_are_named():
    async def main():
        async with Peer(5, "closes") as peer:
            venue = market_data(settings(peer), LiveClock())
            with pytest.raises(Retry, match=r"Engine.IO 4\); .*Engine.IO 3\)"):
                await venue.open_stream([RULES])
            venue.close()
            assert peer.asked == [4, 3]

    asyncio.run(main())


@pytest.mark.parametrize(("status", "error"), [("503", Retry), ("429", RateLimited)])
def test_an_outage_is_no_question_of_the_version(status, error):
    async def main():
        async with Peer(5, status) as peer:
            venue = market_data(settings(peer), LiveClock())
            with pytest.raises(error) as caught:
                await venue.open_stream([RULES])
            venue.close()
            assert type(caught.value) is error and peer.asked == [4]

    asyncio.run(main())


def test_a_mistake_of_ours_reaches_the_reader_and_is_no_silence():
    class Broken(CoinDcxStream):
        def _event(self, name, body):
            raise ZeroDivisionError("a mistake")

    async def main():
        async with Peer() as peer:
            socket = await open_socket("coindcx", peer.url + "/socket.io/?EIO=4&transport=websocket")
            stream = Broken("coindcx", socket, LiveClock(), 4, [RULES])
            await stream.connected()
            await peer.event("new-trade", {})
            with pytest.raises(ZeroDivisionError):
                await asyncio.wait_for(stream.read(), 10)
            await stream.close()

    asyncio.run(main())


# --- the account -----------------------------------------------------------------------------------


def test_the_accounts_channel_is_joined_with_a_signature_and_told_as_news():
    async def main():
        async with Peer() as peer:
            account = choose_account(settings(peer), LiveClock())
            stream = await account.open_stream([RULES])
            await joined(peer, '"channelName":"coindcx"')
            await peer.event("order-update", [ORDER])
            await peer.event("trade-update", [UPDATE])
            await peer.event("balance-update", [BALANCE])
            await peer.event("order-update", [{"id": 1}])
            await peer.event("something-new", [])
            items = []
            async with asyncio.timeout(10):
                while len(items) < 5:
                    items += await stream.read()
            order, fill, balance, broken, unknown = items
            assert order == OrderNews("sb-1", "7", "BTCUSDT", FILLED)
            assert fill == OrderNews("", "38780e28", "ETHINR", FILLED)
            assert balance.balances[0].currency == "USDT"
            assert isinstance(broken, Notice) and '{"id": 1}' in broken.text.replace("\\", "")
            assert isinstance(unknown, Notice) and unknown.kind == "unknown event"
            for connection in peer.open:
                await connection.close()
            with pytest.raises(Retry):
                await asyncio.wait_for(stream.read(), 10)
            await stream.close()
            account.close()

    asyncio.run(main())


def test_an_account_stream_that_is_refused_is_no_matter_of_trying_again():
    async def main():
        async with Peer(refused_keys=True) as peer:
            account = choose_account(settings(peer), LiveClock())
            with pytest.raises(Rejected, match="refused") as caught:
                await account.open_stream([RULES])
            assert caught.value.code == "41" and "hush" not in str(caught.value)
            assert not isinstance(caught.value, Misconfigured)
            account.close()
            assert peer.asked == [4]

    asyncio.run(main())


def test_an_account_stream_falls_back_like_the_other():
    async def main():
        async with Peer(3, "400") as peer:
            account = choose_account(settings(peer), LiveClock())
            stream = await account.open_stream([RULES])
            await stream.close()
            account.close()
            assert peer.asked == [4, 3]

    asyncio.run(main())


def rows(price):
    return {"p": str(price), "q": "0.1", "T": 1788457449084, "m": 1, "s": "B-BTC_USDT"}


def test_a_ping_amid_what_is_handed_over_is_answered_and_nothing_is_lost_or_turned_round():
    async def main():
        async with Peer() as peer:
            venue = market_data(settings(peer), LiveClock())
            stream = await venue.open_stream([RULES])
            await joined(peer, "B-BTC_USDT@trades")
            taken, all_taken = [], asyncio.Event()

            def take(items):
                taken.extend(items)
                if len(taken) == 9:
                    all_taken.set()

            handing = asyncio.create_task(stream.hand_over(take))
            for price in range(1, 10):
                if price % 3 == 0:
                    for connection in peer.open:
                        await connection.send(f"2{price}")
                await peer.event("new-trade", rows(price))
            async with asyncio.timeout(10):
                async with peer.heard:
                    await peer.heard.wait_for(lambda: {"33", "36", "39"} <= set(peer.frames))
                await all_taken.wait()
            assert [item.price for item in taken] == [float(price) for price in range(1, 10)]
            handing.cancel()
            await asyncio.gather(handing, return_exceptions=True)
            await stream.close()
            venue.close()

    asyncio.run(main())


def test_what_fails_in_taking_what_is_handed_over_ends_it_with_that():
    async def main():
        async with Peer() as peer:
            venue = market_data(settings(peer), LiveClock())
            stream = await venue.open_stream([RULES])
            await joined(peer, "B-BTC_USDT@trades")
            first_taken = asyncio.Event()

            def take(items):
                if first_taken.is_set():
                    raise ZeroDivisionError("a defect of ours")
                first_taken.set()

            handing = asyncio.create_task(stream.hand_over(take))
            for price in (1, 2):
                await peer.event("new-trade", rows(price))
                await asyncio.wait_for(first_taken.wait(), 10)
            with pytest.raises(ZeroDivisionError, match="a defect of ours"):
                await asyncio.wait_for(handing, 10)
            await stream.close()
            venue.close()

    asyncio.run(main())


def test_a_connection_that_is_lost_ends_what_is_handed_over_after_all_was():
    async def main():
        async with Peer() as peer:
            venue = market_data(settings(peer), LiveClock())
            stream = await venue.open_stream([RULES])
            await joined(peer, "B-BTC_USDT@trades")
            taken = []
            handing = asyncio.create_task(stream.hand_over(taken.extend))
            for price in range(1, 6):
                await peer.event("new-trade", rows(price))
            for connection in list(peer.open):
                await connection.close(1012, "goes away")
            with pytest.raises(Retry, match="1012 goes away"):
                await asyncio.wait_for(handing, 10)
            assert [item.price for item in taken] == [1.0, 2.0, 3.0, 4.0, 5.0]
            await stream.close()
            venue.close()

    asyncio.run(main())
