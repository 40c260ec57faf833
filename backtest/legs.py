"""All round trips of a run as one table, by numpy: what the statistics are counted on.

The same legs as `backtest.result.legs_of` gives one by one (a test holds them equal), with what a statistic needs
beside: cost, turnover and reasons. A run may have a hundred thousand of them.
"""

from typing import NamedTuple

import numpy as np

from backtest.result import ENTER, Array, Result

# One completed round trip. Money in units, times in ns of the venue's clock.
LEG = np.dtype(
    [
        ("entry_ns", "<i8"),  # of the first entry fill
        ("exit_ns", "<i8"),  # of the last exit fill
        ("entry_price", "<f8"),  # averages, after slippage
        ("exit_price", "<f8"),
        ("lots", "<i8"),  # bought
        ("cost", "<i8"),  # the stake: what was paid for what was sold, fees and taxes included
        ("profit", "<i8"),  # net of both sides' fees and taxes
        ("turnover", "<i8"),  # bought plus sold, before fees and taxes
        ("fees", "<i8"),
        ("taxes", "<i8"),
        ("entry", "<i8"),  # index of the entry in decisions and orders
        ("exit", "<i8"),  # of the last exit
        ("pair", "<u4"),
        ("exits", "<u4"),  # exit orders that filled
        ("entry_reason", "<u1"),
        ("exit_reason", "<u1"),
        ("ghost", "<u1"),
        ("entry_notes", "<u1"),
    ]
)


def legs_table(result: Result) -> Array:
    """The completed round trips as LEG records, in the order in which they ended.

    A leg begins with a filled entry and ends with the pair's next one, or at the end where nothing is held. An entry of
    which nothing was sold makes none, nor does an exit of a position that the run began with.
    """
    orders, leg_of, entries = _grouped(result)
    legs = np.zeros(len(entries), LEG)
    sells = orders[result.orders["purpose"][orders] != ENTER]
    leg_of_sell = leg_of[result.orders["purpose"][orders] != ENTER]
    legs["entry"] = entries
    legs["pair"] = result.orders["pair"][entries]
    legs["ghost"] = result.decisions["ghost"][entries]
    legs["entry_reason"] = result.decisions["reason"][entries]
    legs["entry_notes"] = result.orders["notes"][entries]
    legs["lots"] = result.orders["filled"][entries]
    np.add.at(legs["exits"], leg_of_sell, 1)
    legs["exit"][leg_of_sell] = sells  # in order of time: the last one stays
    legs["exit_reason"] = result.decisions["reason"][legs["exit"]]
    np.add.at(legs["profit"], leg_of_sell, result.orders["cash"][sells] - result.orders["share"][sells])
    np.add.at(legs["cost"], leg_of_sell, result.orders["share"][sells])
    _add_fills(result, legs, orders, leg_of)
    done = legs["exits"] > 0
    done[open_legs(result, legs)] = False
    legs = legs[done]
    return legs[np.lexsort((legs["entry"], legs["exit_ns"]))]


def open_legs(result: Result, legs: Array) -> Array:
    """Indices, in legs that are sorted by pair and entry, of the last one of each pair that is not flat at the end."""
    flat = {held.pair for held in result.held if not held.lots}
    last = (
        np.flatnonzero(np.append(legs["pair"][1:] != legs["pair"][:-1], True)) if len(legs) else np.zeros(0, np.int64)
    )
    return np.array([at for at in last.tolist() if int(legs["pair"][at]) not in flat], dtype=np.int64)


class OpenEntry(NamedTuple):
    """The entry of a position that is still held."""

    order: int  # index in decisions and orders
    ns: int  # of its first fill


def open_entries(result: Result) -> dict[int, OpenEntry]:
    """By pair: the entry of what it holds at the end."""
    _, _, entries = _grouped(result)
    first, _ = _first_and_last(result)
    held = {item.pair for item in result.held if item.lots}
    latest = {int(result.orders["pair"][at]): OpenEntry(at, int(first[at])) for at in entries.tolist()}
    return {pair: entry for pair, entry in latest.items() if pair in held}


def _grouped(result: Result) -> tuple[Array, Array, Array]:
    """Filled orders by pair and time, the leg of each, and each leg's entry order."""
    orders = np.flatnonzero(result.orders["filled"] > 0)
    pairs = result.orders["pair"]
    orders = orders[np.lexsort((result.decisions["number"][orders], pairs[orders]))]
    enters = result.orders["purpose"][orders] == ENTER
    entries = orders[enters]
    leg_of = np.cumsum(enters) - 1
    if len(entries):
        begun = (leg_of >= 0) & (pairs[entries[leg_of]] == pairs[orders])
        orders, leg_of = orders[begun], leg_of[begun]
    else:
        orders, leg_of = orders[:0], leg_of[:0]
    return orders, leg_of, entries


def _first_and_last(result: Result) -> tuple[Array, Array]:
    """Per order: time of its first and of its last fill, 0 where it has none."""
    of, ns = result.fills["order"], result.fills["ns"]
    first = np.zeros(len(result.orders), np.int64)
    last = np.zeros(len(result.orders), np.int64)
    filled, at = np.unique(of, return_index=True)
    first[filled] = ns[at]
    filled, at = np.unique(of[::-1], return_index=True)
    last[filled] = ns[::-1][at]
    return first, last


def _add_fills(result: Result, legs: Array, orders: Array, leg_of: Array) -> None:
    """What the fills know: times, average prices, fees, taxes and turnover."""
    first, last = _first_and_last(result)
    legs["entry_ns"] = first[legs["entry"]]
    legs["exit_ns"] = last[legs["exit"]]
    of_order = np.full(len(result.orders), -1, np.int64)
    of_order[orders] = leg_of
    fills = result.fills[of_order[result.fills["order"]] >= 0]
    leg = of_order[fills["order"]]
    buys = result.orders["purpose"][fills["order"]] == ENTER
    charges = fills["fee"] + fills["tax"]
    np.add.at(legs["fees"], leg, fills["fee"])
    np.add.at(legs["taxes"], leg, fills["tax"])
    np.add.at(legs["turnover"], leg, fills["cash"] + np.where(buys, -charges, charges))
    ticks = np.array([float(market.tick) for market in result.start.markets])
    value = fills["ticks"] * ticks[legs["pair"][leg]] * fills["lots"]
    for name, side in (("entry_price", buys), ("exit_price", ~buys)):
        lots = np.zeros(len(legs))
        np.add.at(legs[name], leg[side], value[side])
        np.add.at(lots, leg[side], fills["lots"][side])
        np.divide(legs[name], lots, out=legs[name], where=lots > 0)
