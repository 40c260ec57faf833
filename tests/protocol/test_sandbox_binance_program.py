"""`python -m sandbox` as Binance: killed and started again it is the same market and the same account."""

import hashlib
import hmac
import http.client
import json
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

from core.clock import LiveClock
from core.sandbox_keys import API_KEY, SECRET_KEY
from tests.protocol.test_sandbox_program import Program


def signed(program: Program, method: str, path: str, query: str) -> Any:
    query += f"&timestamp={LiveClock().wall_ms()}"
    query += "&signature=" + hmac.new(SECRET_KEY.encode(), query.encode(), hashlib.sha256).hexdigest()
    with closing(http.client.HTTPConnection("127.0.0.1", program.port, timeout=10)) as connection:
        connection.request(method, f"{path}?{query}", headers={"X-MBX-APIKEY": API_KEY})
        return json.loads(connection.getresponse().read())


def test_a_kill_is_an_outage_of_market_and_account(tmp_path: Path) -> None:
    program = Program(tmp_path, SANDBOX_PROTOCOL="binance")
    try:
        program.start()
        rows = program.wait_for(lambda: program.get("/api/v3/trades?symbol=BTCUSDT"))
        price = f"{float(rows[-1]['price']) * 0.8:.2f}"
        order = f"symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.001&price={price}&newClientOrderId=kept"
        placed = signed(program, "POST", "/api/v3/order", order)
        assert placed["status"] == "NEW", placed
        program.end(signal.SIGKILL)
        program.start()
        program.wait_for(lambda: program.get("/api/v3/time"))
        again = program.get(f"/api/v3/historicalTrades?symbol=BTCUSDT&fromId={rows[0]['id']}&limit=1000")
        assert again[: len(rows)] == rows and [row["id"] for row in again] == list(
            range(rows[0]["id"], rows[0]["id"] + len(again))
        )
        known = signed(program, "GET", "/api/v3/order", "symbol=BTCUSDT&origClientOrderId=kept")
        assert (known["orderId"], known["status"], known["price"]) == (placed["orderId"], "NEW", placed["price"])
        assert program.end() == 0
    finally:
        program.stop_if_running()
    assert "Traceback" not in program.log.read_text()
