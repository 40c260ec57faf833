"""The sandbox as Binance: all of its faces over one place."""

from fastapi import FastAPI, WebSocket

from sandbox.aggregates import Aggregates
from sandbox.faces.binance_door import Door
from sandbox.faces.binance_feeds import Numbers
from sandbox.faces.binance_limits import OrderCounts
from sandbox.faces.binance_private import PrivateFace
from sandbox.faces.binance_public import PublicFace
from sandbox.faces.binance_socket import Manners
from sandbox.faces.binance_stream import Stream
from sandbox.faces.binance_user import UserApi
from sandbox.faces.binance_wire import ORDERS_A_DAY, ORDERS_IN_10_S, WEIGHT_A_MINUTE
from sandbox.hub import Hub
from sandbox.place import Place
from sandbox.trade_ids import TradeIds


def add_binance(
    app: FastAPI,
    place: Place,
    manners: Manners | None = None,
    weight_a_minute: int = WEIGHT_A_MINUTE,
    orders: tuple[int, int] = (ORDERS_IN_10_S, ORDERS_A_DAY),
) -> Hub:
    """Adds the routes; to be called inside the loop that serves them."""
    ids = TradeIds(place.market)
    aggregates = Aggregates(place.market, ids)
    manners = manners or Manners()
    stream = Stream(place, Numbers(ids, aggregates), manners)
    hub = place.hub_of(stream.open)
    stream.attach(hub)

    @app.websocket("/ws")
    async def bare(websocket: WebSocket) -> None:
        await stream.serve(websocket, [], wrapped=False)

    @app.websocket("/ws/{names:path}")
    async def bare_of(websocket: WebSocket, names: str) -> None:
        await stream.serve(websocket, _split(names), wrapped=False)

    @app.websocket("/stream")
    async def combined(websocket: WebSocket) -> None:
        await stream.serve(websocket, _split(websocket.query_params.get("streams", "")), wrapped=True)

    counts = OrderCounts(*orders)
    door = Door(place, counts, weight_a_minute)
    PublicFace(place, ids, aggregates).add_to(door)
    private = PrivateFace(place, counts)
    private.add_to(door)
    user = UserApi(place, door, private, manners)

    @app.websocket("/ws-api/v3")
    async def websocket_api(websocket: WebSocket) -> None:
        await user.serve(websocket)

    door.add_to(app)
    return hub


def _split(names: str) -> list[str]:
    return [name for name in names.split("/") if name]
