"""ccxt's `binance`, as it is, against the sandbox: nothing is changed but the address.

Run by ccxt's own Python: `.venv-ccxt/bin/python tests/protocol/judge/ccxt_binance.py URL KEY SECRET`. Prints a line for
each thing that works; ends with a traceback at the first that does not.
"""

import itertools
import sys
import time
from urllib.parse import urlsplit

import ccxt

SYMBOL = "BTC/USDT"


def connected(url, key, secret):
    """ccxt's client with the host of every address replaced."""
    venue = ccxt.binance({"apiKey": key, "secret": secret})
    venue.urls["api"] = {name: url + urlsplit(address).path for name, address in venue.urls["api"].items()}
    return venue


def done(what):
    print("ok:", what, flush=True)


def refused(kind, call, *arguments, **named):
    """The error that a call ends with; fails where it is another one or none."""
    try:
        call(*arguments, **named)
    except kind as error:
        assert type(error) is kind, f"{type(error).__name__} in place of {kind.__name__}: {error}"
        return str(error)
    raise AssertionError(f"{call.__name__}{arguments} was not refused")


def public(venue):
    """What needs no key."""
    assert abs(venue.fetch_time() - time.time() * 1000) < 60_000
    markets = venue.load_markets()
    market = markets[SYMBOL]
    assert market["spot"] and market["active"] and market["id"] == "BTCUSDT", market
    assert market["precision"]["price"] == 0.01 and market["precision"]["amount"] == 0.00001, market["precision"]
    assert market["limits"]["cost"]["min"] == 5 and market["limits"]["amount"]["min"] == 0.00001, market["limits"]
    done(f"load_markets: {len(markets)}")

    trades = venue.fetch_trades(SYMBOL, limit=100)
    assert len(trades) == 100 and {trade["side"] for trade in trades} == {"buy", "sell"}
    ids = [int(trade["id"]) for trade in trades]
    assert ids == list(range(ids[0], ids[0] + 100))
    assert [trade["timestamp"] for trade in trades] == sorted(trade["timestamp"] for trade in trades)
    last = trades[-1]["info"]  # an aggregate: of the trades f to l
    for method in ("publicGetTrades", "publicGetHistoricalTrades"):
        single = {
            int(trade["id"]): trade
            for trade in venue.fetch_trades(SYMBOL, limit=1000, params={"fetchTradesMethod": method})
        }
        own = [single[number] for number in range(int(last["f"]), int(last["l"]) + 1)]
        assert abs(sum(trade["amount"] for trade in own) - trades[-1]["amount"]) < 1e-9
        assert {(trade["price"], trade["side"]) for trade in own} == {(trades[-1]["price"], trades[-1]["side"])}
    since = venue.fetch_trades(SYMBOL, since=trades[50]["timestamp"], limit=5)
    assert since[0]["timestamp"] >= trades[50]["timestamp"] and int(since[0]["id"]) <= ids[50]
    done("fetch_trades")

    bars = venue.fetch_ohlcv(SYMBOL, "1m", limit=50)
    assert len(bars) == 50 and all(later[0] - bar[0] == 60_000 for bar, later in itertools.pairwise(bars))
    assert all(low <= min(opened, close) <= max(opened, close) <= high for _, opened, high, low, close, _ in bars)
    assert bars[-1][0] == venue.milliseconds() // 60_000 * 60_000 or venue.milliseconds() % 60_000 < 5000
    start = bars[10][0]
    assert [bar[0] for bar in venue.fetch_ohlcv(SYMBOL, "1m", since=start, limit=5)] == [
        start + 60_000 * number for number in range(5)
    ]
    for frame in ("1s", "5m", "1h", "1d", "1w", "1M"):
        assert venue.fetch_ohlcv(SYMBOL, frame, limit=3), frame
    done("fetch_ohlcv")

    book = venue.fetch_order_book(SYMBOL, 10)
    ticker = venue.fetch_ticker(SYMBOL)
    assert book["bids"][0][0] < book["asks"][0][0] and ticker["low"] <= ticker["last"] <= ticker["high"]
    assert len(venue.fetch_tickers([SYMBOL, "ETH/USDT"])) == 2
    assert venue.fetch_bids_asks([SYMBOL])[SYMBOL]["bid"] > 0
    assert venue.fetch_last_prices([SYMBOL])[SYMBOL]["price"] > 0
    assert venue.fetch_status()["status"] == "ok"
    done("fetch_order_book, fetch_ticker, fetch_tickers, fetch_bids_asks, fetch_last_prices, fetch_status")
    refused(ccxt.BadSymbol, venue.fetch_ticker, "NO/SUCH")
    refused(ccxt.BadSymbol, venue.public_get_trades, {"symbol": "NOPE"})


def private(venue):
    """Orders, own trades, balances."""
    before = venue.fetch_balance()
    assert before["USDT"]["free"] > 1000, before["USDT"]
    done(f"fetch_balance: {before['USDT']['free']} USDT")
    last = venue.fetch_ticker(SYMBOL)["last"]

    bought = venue.create_order(SYMBOL, "market", "buy", 0.01)
    assert bought["status"] == "closed" and bought["filled"] == 0.01, bought
    assert abs(bought["average"] / last - 1) < 0.05 and bought["fee"]["currency"] == "BTC", bought
    held = venue.fetch_balance()["BTC"]["free"]
    assert abs(held - (0.01 - bought["fee"]["cost"])) < 1e-9, (held, bought["fee"])
    again = venue.fetch_order(bought["id"], SYMBOL)
    assert again["status"] == "closed" and again["clientOrderId"] == bought["clientOrderId"], again
    fills = venue.fetch_my_trades(SYMBOL, params={"orderId": bought["id"]})
    assert abs(sum(fill["amount"] for fill in fills) - 0.01) < 1e-12 and {fill["order"] for fill in fills} == {
        bought["id"]
    }
    assert venue.create_market_buy_order_with_cost(SYMBOL, 50)["cost"] <= 50
    done("create_order market, fetch_order, fetch_my_trades")

    away = venue.price_to_precision(SYMBOL, last * 0.9)
    name = f"judge-{venue.milliseconds()}"
    resting = venue.create_order(SYMBOL, "limit", "buy", 0.001, away, {"clientOrderId": name})
    assert resting["status"] == "open" and resting["filled"] == 0 and resting["clientOrderId"] == name, resting
    assert venue.fetch_order("", SYMBOL, {"clientOrderId": name})["id"] == resting["id"]
    assert [order["id"] for order in venue.fetch_open_orders(SYMBOL)] == [resting["id"]]
    assert venue.fetch_balance()["USDT"]["used"] > 0
    text = refused(ccxt.InvalidOrder, venue.create_order, SYMBOL, "limit", "buy", 0.001, away, {"clientOrderId": name})
    assert "Duplicate order sent." in text
    canceled = venue.cancel_order(resting["id"], SYMBOL)
    assert canceled["id"] == resting["id"] and canceled["status"] == "canceled", canceled
    assert venue.fetch_order(resting["id"], SYMBOL)["status"] == "canceled" and not venue.fetch_open_orders(SYMBOL)
    done("create_order limit, fetch_order by client id, fetch_open_orders, cancel_order")

    worse = venue.price_to_precision(SYMBOL, last * 1.02)
    ioc = venue.create_order(SYMBOL, "limit", "buy", 0.001, worse, {"timeInForce": "IOC"})
    assert ioc["status"] == "closed" and ioc["average"] < float(worse), ioc
    vain = venue.create_order(SYMBOL, "limit", "buy", 0.001, away, {"timeInForce": "IOC"})
    assert vain["status"] == "expired" and vain["filled"] == 0, vain
    done("create_order IOC")

    maker = venue.create_order(SYMBOL, "limit", "buy", 0.001, away, {"postOnly": True})
    assert maker["status"] in ("open", None) and venue.fetch_order(maker["id"], SYMBOL)["status"] == "open", maker
    assert venue.fetch_order(maker["id"], SYMBOL)["postOnly"]
    text = refused(
        ccxt.OrderImmediatelyFillable, venue.create_order, SYMBOL, "limit", "buy", 0.001, worse, {"postOnly": True}
    )
    assert "Order would immediately match and take." in text
    assert len(venue.cancel_all_orders(SYMBOL)) == 1
    done("create_order post-only, cancel_all_orders")

    stop = venue.create_order(SYMBOL, "market", "sell", 0.001, None, {"stopLossPrice": float(away)})
    assert venue.fetch_order(stop["id"], SYMBOL)["triggerPrice"] == float(away)
    venue.cancel_order(stop["id"], SYMBOL)
    done("create_order stop loss")

    refused(ccxt.OrderNotFound, venue.fetch_order, "999999", SYMBOL)
    refused(ccxt.OrderNotFound, venue.cancel_order, resting["id"], SYMBOL)
    refused(ccxt.InsufficientFunds, venue.create_order, SYMBOL, "limit", "buy", 100, away)
    assert "NOTIONAL" in refused(ccxt.BadRequest, venue.create_order, SYMBOL, "limit", "buy", 0.00001, away)
    states = [order["status"] for order in venue.fetch_orders(SYMBOL)]
    assert states.count("canceled") == 3 and states.count("closed") == 3 and states.count("expired") == 1, states
    mine = venue.fetch_my_trades(SYMBOL)
    assert len(mine) >= 3 and [fill["timestamp"] for fill in mine] == sorted(fill["timestamp"] for fill in mine)
    done("refusals, fetch_orders")


def strangers(url, key, secret):
    """Wrong keys and clocks."""
    refused(ccxt.AuthenticationError, connected(url, key, "wrong").fetch_balance)
    refused(ccxt.AuthenticationError, connected(url, "stranger", secret).fetch_balance)
    late = connected(url, key, secret)
    late.load_markets()
    late.options["timeDifference"] = 120_000
    refused(ccxt.InvalidNonce, late.fetch_balance)
    done("wrong keys and clocks are refused")


if __name__ == "__main__":
    URL, KEY, SECRET = sys.argv[1:4]
    client = connected(URL, KEY, SECRET)
    public(client)
    private(client)
    strangers(URL, KEY, SECRET)
