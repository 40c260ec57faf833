"""ccxt's `kraken`, as it is, against the sandbox: nothing is changed but the address.

Run by ccxt's own Python: `.venv-ccxt/bin/python tests/protocol/judge/ccxt_kraken.py URL KEY SECRET [RATE_LIMIT]`.
Prints a line for each thing that works; ends with a traceback at the first that does not. RATE_LIMIT is ccxt's own
option, ms between two calls: without it ccxt keeps to what Kraken allows, and this takes minutes.
"""

import itertools
import sys
import time

import ccxt

SYMBOL = "BTC/USD"  # keyed XXBTZUSD
OTHER = "BTC/USDT"


def connected(url, key, secret):
    """ccxt's client with the host of every address replaced."""
    pace = {"rateLimit": int(sys.argv[4])} if len(sys.argv) > 4 else {}
    venue = ccxt.kraken({"apiKey": key, "secret": secret} | pace)
    venue.urls["api"] = dict.fromkeys(venue.urls["api"], url)
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
    assert market["spot"] and market["active"] and market["id"] == "XXBTZUSD", market
    assert market["precision"]["price"] == 0.1 and market["precision"]["amount"] == 1e-8, market["precision"]
    assert market["limits"]["cost"]["min"] == 0.5 and market["limits"]["amount"]["min"] == 5e-8, market["limits"]
    assert market["maker"] == market["taker"] == 0.0005 and venue.fetch_status()["status"] == "ok"
    done(f"load_markets: {len(markets)}")

    trades = venue.fetch_trades(SYMBOL, limit=100)
    assert len(trades) == 100 and {trade["side"] for trade in trades} == {"buy", "sell"}
    ids = [int(trade["id"]) for trade in trades]
    assert ids == list(range(ids[0], ids[0] + 100))
    assert [trade["timestamp"] for trade in trades] == sorted(trade["timestamp"] for trade in trades)
    later = venue.fetch_trades(SYMBOL, since=trades[50]["timestamp"] // 1000 * 1000, limit=1000)
    assert set(ids[50:]) <= {int(trade["id"]) for trade in later}
    done("fetch_trades")

    bars = venue.fetch_ohlcv(SYMBOL, "1m", limit=50)
    assert len(bars) == 50 and all(after[0] - bar[0] == 60_000 for bar, after in itertools.pairwise(bars))
    assert all(low <= min(opened, close) <= max(opened, close) <= high for _, opened, high, low, close, _ in bars)
    start = bars[10][0]
    assert [bar[0] for bar in venue.fetch_ohlcv(SYMBOL, "1m", since=start, limit=5)] == [
        start + 60_000 * number for number in range(5)
    ]
    for frame in ("5m", "1h", "1d", "1w"):
        assert venue.fetch_ohlcv(SYMBOL, frame, limit=3), frame
    done("fetch_ohlcv")

    book = venue.fetch_order_book(SYMBOL, 10)
    ticker = venue.fetch_ticker(SYMBOL)
    assert book["bids"][0][0] < book["asks"][0][0] and ticker["low"] <= ticker["last"] <= ticker["high"]
    assert len(venue.fetch_tickers([SYMBOL, OTHER])) == 2
    done("fetch_order_book, fetch_ticker, fetch_tickers")
    refused(ccxt.BadSymbol, venue.fetch_ticker, "NO/SUCH")
    refused(ccxt.ExchangeError, venue.public_get_trades, {"pair": "NOPE"})


def private(venue):
    """Orders, own trades, balances."""
    last = bought_at_market(venue)
    away = venue.price_to_precision(SYMBOL, last * 0.9)
    resting = resting_orders(venue, away)
    spent = other_orders(venue, last, away)
    refusals(venue, away, resting, spent)


def bought_at_market(venue):
    """A market order, its fee and fills; gives the price before it."""
    before = venue.fetch_balance()
    assert before["USD"]["free"] > 1000, before["USD"]
    done(f"fetch_balance: {before['USD']['free']} USD")
    last = venue.fetch_ticker(SYMBOL)["last"]

    sent = venue.create_order(SYMBOL, "market", "buy", 0.01)
    assert sent["symbol"] == SYMBOL and sent["type"] == "market" and sent["amount"] == 0.01, sent
    bought = until(lambda: venue.fetch_order(sent["id"]), lambda order: order["status"] == "closed")
    assert bought["filled"] == 0.01 and abs(bought["average"] / last - 1) < 0.05, bought
    fee = float(bought["fee"]["cost"])
    assert abs(fee / (bought["average"] * 0.01) - 0.0005) < 1e-6, bought["fee"]
    assert bought["fee"]["currency"] == "USD" and len(bought["trades"]) >= 1, bought
    balance = venue.fetch_balance()
    assert balance["BTC"]["free"] == 0.01
    paid = before["USD"]["free"] - balance["USD"]["free"]
    assert abs(paid - bought["average"] * 0.01 - fee) < 1e-6, (paid, bought)
    fills = [fill for fill in venue.fetch_my_trades(SYMBOL) if fill["order"] == sent["id"]]
    assert len(fills) == 1 and abs(fills[0]["amount"] - 0.01) < 1e-12, fills  # taker fills come as one
    single = [
        fill
        for fill in venue.fetch_my_trades(SYMBOL, params={"consolidate_taker": "false"})
        if fill["order"] == sent["id"]
    ]
    assert {fill["id"] for fill in single} == {trade["id"] for trade in bought["trades"]}
    assert abs(sum(fill["amount"] for fill in single) - 0.01) < 1e-12 and single[0]["takerOrMaker"] == "taker"
    done("create_order market, fetch_order, fetch_my_trades")
    return last


def resting_orders(venue, away):
    """Limit orders at a price away from the market, found and cancelled by both ids; gives the first, cancelled."""
    name = f"j-{venue.milliseconds()}"
    resting = venue.create_order(SYMBOL, "limit", "buy", 0.001, away, {"clientOrderId": name})
    assert resting["price"] == float(away) and resting["side"] == "buy", resting
    found = venue.fetch_order(resting["id"])
    assert found["status"] == "open" and found["filled"] == 0 and found["clientOrderId"] == name, found
    assert [order["id"] for order in venue.fetch_open_orders(SYMBOL)] == [resting["id"]]
    assert venue.fetch_open_orders(SYMBOL, params={"clientOrderId": name})[0]["id"] == resting["id"]
    assert venue.fetch_balance()["USD"]["used"] > 0
    refused(ccxt.ExchangeError, venue.create_order, SYMBOL, "limit", "buy", 0.001, away, {"clientOrderId": name})
    assert venue.cancel_order(resting["id"], SYMBOL)["info"]["result"]["count"] in (1, "1")
    assert venue.fetch_order(resting["id"])["status"] == "canceled" and not venue.fetch_open_orders(SYMBOL)
    again = venue.create_order(SYMBOL, "limit", "buy", 0.001, away, {"clientOrderId": name})
    assert again["id"] != resting["id"]  # a finished order's id is free again
    venue.cancel_order("", SYMBOL, {"clientOrderId": name})
    done("create_order limit, fetch_order, fetch_open_orders, cancel_order by both ids")
    return resting


def other_orders(venue, last, away):
    """Immediate or cancelled, post-only, stop loss and by cost; gives the last."""
    worse = venue.price_to_precision(SYMBOL, last * 1.02)
    ioc = venue.create_order(SYMBOL, "limit", "buy", 0.001, worse, {"timeInForce": "IOC"})
    ioc = venue.fetch_order(ioc["id"])
    assert ioc["status"] == "closed" and ioc["average"] < float(worse), ioc
    vain = venue.create_order(SYMBOL, "limit", "buy", 0.001, away, {"timeInForce": "IOC"})
    vain = venue.fetch_order(vain["id"])
    assert vain["status"] == "canceled" and vain["filled"] == 0, vain
    done("create_order IOC")

    maker = venue.create_order(SYMBOL, "limit", "buy", 0.001, away, {"postOnly": True})
    assert venue.fetch_order(maker["id"])["postOnly"]
    refused(ccxt.ExchangeError, venue.create_order, SYMBOL, "limit", "buy", 0.001, worse, {"postOnly": True})
    assert int(venue.cancel_all_orders()[0]["info"]["result"]["count"]) == 1
    done("create_order post-only, cancel_all_orders")

    stop = venue.create_order(SYMBOL, "market", "sell", 0.001, None, {"stopLossPrice": float(away), "oflags": "fciq"})
    assert venue.fetch_order(stop["id"])["stopLossPrice"] == float(away)
    venue.cancel_order(stop["id"])
    spent = venue.create_market_buy_order_with_cost(SYMBOL, 50)
    spent = venue.fetch_order(spent["id"])
    assert spent["filled"] > 0 and spent["filled"] * spent["average"] <= 50, spent
    done("create_order stop loss and by cost")
    return spent


def refusals(venue, away, resting, spent):
    """What is refused, and the orders that all of it leaves; `resting`: one that is cancelled, `spent`: one by cost."""
    refused(ccxt.InvalidOrder, venue.fetch_order, "OAAAAA-AAAAA-AAAAAA")
    refused(ccxt.OrderNotFound, venue.cancel_order, resting["id"], SYMBOL)
    refused(ccxt.InsufficientFunds, venue.create_order, SYMBOL, "limit", "buy", 100, away)
    refused(ccxt.InvalidOrder, venue.create_order, SYMBOL, "limit", "buy", 0.00000001, away)
    states = [order["status"] for order in venue.fetch_closed_orders(SYMBOL)]
    assert states.count("canceled") == 5 and states.count("closed") == 2 + (spent["status"] == "closed"), states
    fee = venue.fetch_trading_fee(SYMBOL)
    assert fee["maker"] == fee["taker"] == 0.0005, fee
    done("refusals, fetch_closed_orders, fetch_trading_fee")


def until(ask, good):
    """The first answer that is good."""
    deadline = time.time() + 20
    while time.time() < deadline:
        answer = ask()
        if good(answer):
            return answer
        time.sleep(0.2)
    raise AssertionError(answer)


def strangers(url, key, secret):
    """Wrong keys and nonces."""
    refused(ccxt.AuthenticationError, connected(url, "stranger", secret).fetch_balance)
    refused(ccxt.ExchangeError, connected(url, key, "d3Jvbmc=").private_post_balance)
    late = connected(url, key, secret)
    late.load_markets()
    late.options["timeDifference"] = 600_000
    refused(ccxt.InvalidNonce, late.fetch_balance)
    done("wrong keys and nonces are refused")


if __name__ == "__main__":
    URL, KEY, SECRET = sys.argv[1:4]
    client = connected(URL, KEY, SECRET)
    public(client)
    private(client)
    strangers(URL, KEY, SECRET)
