"""What Kraken lists: assets and pairs with the rules in force, over REST and as the instrument channel."""

from typing import Any

from sandbox.exchange.orders import ATOM_DIGITS
from sandbox.exchange.profiles import Trading, TradingRules
from sandbox.faces.kraken_market import Candles
from sandbox.faces.kraken_names import COST_DIGITS, Names, Pair, asset_altname, asset_code, asset_decimals
from sandbox.place import Place
from sandbox.trade_ids import TradeIds
from sandbox.trades import text_of

STATUS = {Trading.ON: "online", Trading.HALTED: "cancel_only", Trading.CANCEL_ONLY: "cancel_only"}


class Listing:
    """The markets of a place under Kraken's names, and what all parts of its face share."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.names = Names(place.market.rules)
        self.ids = TradeIds(place.market)
        self.candles = Candles(place.market)

    def system(self) -> str:
        """online, maintenance, cancel_only or post_only."""
        all_halted = all(self._rules(pair).trading is Trading.HALTED for pair in self.names.pairs.values())
        return "maintenance" if all_halted else "online"

    def asset_row(self, asset: str) -> dict[str, Any]:
        """One row of Assets."""
        return {
            "aclass": "currency",
            "altname": asset_altname(asset),
            "decimals": self.decimals(asset),
            "display_decimals": 2 if asset_code(asset).startswith("Z") else 5,
            "status": "enabled",
        }

    def decimals(self, asset: str) -> int:
        """Of an asset; no market counts its quantities finer."""
        digits = [pair.rules.quantity_digits for pair in self.names.pairs.values() if pair.rules.base == asset]
        return max([asset_decimals(asset), *digits])

    def pair_row(self, pair: Pair) -> dict[str, Any]:
        """One row of AssetPairs; fees are in percent, of the first tier alone."""
        rules, trading, profile = pair.rules, self._rules(pair), self.place.exchange.profile
        return {
            "altname": pair.altname,
            "wsname": pair.wsname,
            "aclass_base": "currency",
            "base": asset_code(rules.base),
            "aclass_quote": "currency",
            "quote": asset_code(rules.quote),
            "lot": "unit",
            "cost_decimals": COST_DIGITS,
            "pair_decimals": rules.price_digits,
            "lot_decimals": _lot_decimals(pair, trading),
            "lot_multiplier": 1,
            "leverage_buy": [],
            "leverage_sell": [],
            "fees": [[0, profile.taker_parts / 10_000]],
            "fees_maker": [[0, profile.maker_parts / 10_000]],
            "fee_volume_currency": "ZUSD",
            "margin_call": 80,
            "margin_stop": 40,
            "ordermin": plain(text_of(trading.min_units, rules.quantity_digits)),
            "costmin": plain(text_of(trading.min_notional, ATOM_DIGITS)),
            "tick_size": text_of(trading.tick, rules.price_digits),
            "status": STATUS[trading.trading],
        }

    def instrument(self, pair: Pair) -> str:
        """A market as the instrument channel has it, numbers written exactly."""
        rules, trading = pair.rules, self._rules(pair)
        tick = text_of(trading.tick, rules.price_digits)
        return (
            f'{{"symbol":"{pair.symbol}","base":"{rules.base}","quote":"{rules.quote}",'
            f'"status":"{STATUS[trading.trading]}","qty_precision":{_lot_decimals(pair, trading)},'
            f'"qty_increment":{text_of(trading.step_units, rules.quantity_digits)},'
            f'"qty_min":{plain(text_of(trading.min_units, rules.quantity_digits))},'
            f'"price_precision":{rules.price_digits},"price_increment":{tick},"tick_size":{tick},'
            f'"cost_precision":{COST_DIGITS},"cost_min":{plain(text_of(trading.min_notional, ATOM_DIGITS))},'
            f'"marginable":false,"has_index":false}}'
        )

    def rules_in_force(self) -> list[TradingRules]:
        """Of every market, in the order of the names."""
        return [self._rules(pair) for pair in self.names.pairs.values()]

    def changed_instruments(self, before: list[TradingRules]) -> str:
        """The instrument channel's update: the markets whose rules are no longer those."""
        changed = [
            self.instrument(pair)
            for pair, rules in zip(self.names.pairs.values(), before, strict=True)
            if self._rules(pair) != rules
        ]
        return f'{{"channel":"instrument","type":"update","data":{{"assets":[],"pairs":[{",".join(changed)}]}}}}'

    def instruments(self) -> str:
        """The snapshot of the instrument channel."""
        assets = ",".join(
            f'{{"id":"{asset}","status":"enabled","precision":{self.decimals(asset)},"precision_display":5,'
            f'"borrowable":false,"collateral_value":0.0,"margin_rate":0.0}}'
            for asset in self.names.assets
        )
        pairs = ",".join(self.instrument(pair) for pair in self.names.pairs.values())
        return f'{{"channel":"instrument","type":"snapshot","data":{{"assets":[{assets}],"pairs":[{pairs}]}}}}'

    def _rules(self, pair: Pair) -> TradingRules:
        return self.place.exchange.trading(pair.pair)


def _lot_decimals(pair: Pair, trading: TradingRules) -> int:
    """The decimals of the step; Kraken cannot tell of one that is no power of ten."""
    digits, step = pair.rules.quantity_digits, trading.step_units
    while digits > 0 and step % 10 == 0:
        digits, step = digits - 1, step // 10
    return digits


def plain(text: str) -> str:
    """Decimal text without useless zeros."""
    return text.rstrip("0").rstrip(".") if "." in text else text
