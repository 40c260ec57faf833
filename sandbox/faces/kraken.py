"""Kraken's face put together: public REST, the stream, signed REST and the account's channels over one place."""

from fastapi import FastAPI, WebSocket

from sandbox.faces.kraken_channels import opener
from sandbox.faces.kraken_limits import CONNECTS, PRIVATE, PUBLIC, Connects, Counter
from sandbox.faces.kraken_listing import Listing
from sandbox.faces.kraken_private import PrivateFace
from sandbox.faces.kraken_public import PublicFace
from sandbox.faces.kraken_stream import Stream
from sandbox.faces.kraken_user import User
from sandbox.hub import Hub
from sandbox.place import Place


def add_kraken(
    app: FastAPI, place: Place, public: Counter = PUBLIC, private: Counter = PRIVATE, connects: int = CONNECTS
) -> Hub:
    """Adds the routes under these limits of REST and of new sockets; the hub that tells its trades."""
    listing = Listing(place)
    hub = place.hub_of(opener(listing))
    public_face = PublicFace(listing, public)
    public_face.add_to(app)
    private_face = PrivateFace(listing, public_face, private)
    private_face.add_to(app)
    stream = Stream(listing, hub, User(private_face), Connects(connects))

    @app.websocket("/v2")
    async def v2(websocket: WebSocket) -> None:
        await stream.serve(websocket)

    return hub
