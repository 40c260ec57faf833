"""The answer to "why not" as a sentence for a person. Pure."""

from datetime import UTC, datetime, timedelta
from typing import Any

from dashboard.minute import Minute

Found = dict[str, Any]
MOST_ACTS = 4  # told in the sentence
TOLD_OTHERWISE = ("warming_up", "blind")


def clock(ms: int | None, offset: int) -> str:
    """HH:MM:SS of the asker's clock, which is `offset` minutes ahead of UTC."""
    if ms is None:
        return "?"
    told = datetime.fromtimestamp(ms / 1000, UTC) + timedelta(minutes=offset)
    return told.strftime("%H:%M:%S") + ("" if offset else " UTC")


def price(value: float) -> str:
    return f"{value:,.8g}"


def words(name: str) -> str:
    return name.replace("_", " ")


def sentence(found: Found, minute: Minute, offset: int) -> str:
    """One or two sentences: what was done and why, or why nothing was."""
    acts = [one for one in found["happened"] if one["what"] in ("entry", "exit")]
    parts = [_acted(one, offset) for one in acts[:MOST_ACTS]]
    if len(acts) > MOST_ACTS:
        parts.append(f"And {len(acts) - MOST_ACTS} more.")
    if not parts:
        parts = [_nothing(found, minute, offset), *_blocked(found, minute)]
    if found["source"] == "candles":
        parts.append("The tape no longer has that minute: this is what its candle's close says.")
    elif found["source"] == "tape" and found["missing"]:
        parts.append("The tape has a part of that minute only.")
    if not found["journal"]:
        parts.append("What the trader held and what blocked it is not known for that time.")
    return " ".join(parts)


def _blocked(found: Found, minute: Minute) -> list[str]:
    """What would have kept an entry back, had a rule held while nothing was held."""
    if not minute.asked_flat or any(rule["held"] for rule in found["rules"]):
        return []
    told = [words(one["reason"]) for one in found["blocking"] if one["reason"] not in TOLD_OTHERWISE]
    return [f"An entry was blocked as well: {', '.join(dict.fromkeys(told))}."] if told else []


def _acted(one: Found, offset: int) -> str:
    at = f"at {clock(one['time_ms'], offset)} ({words(one['reason'])}) at a price of {price(one['price'])}"
    seen = [] if one["rsi"] is None else [f"RSI {one['rsi']:.2f}"]
    if one["what"] == "entry" and one["bb_lower"] is not None:
        seen.append(f"lower band {price(one['bb_lower'])}")
    how = f": {', '.join(seen)}" if seen else ""
    return f"Decided to {'buy' if one['what'] == 'entry' else 'sell'} {at}{how}."


def _nothing(found: Found, minute: Minute, offset: int) -> str:
    if found["source"] == "none":
        return "Nothing is kept of that minute: neither the tape nor the candles reach back to it."
    if not minute.trades:
        return "There was no trade in that minute, and without one nothing is decided."
    rules = {rule["rule"]: rule for rule in found["rules"]}
    met = [rule for rule in rules.values() if rule["held"]]
    what = "sold" if minute.asked_held and not minute.asked_flat else "bought"
    if met:
        return _held_back(met[0], found, what, offset)
    blind = next((one for one in found["blocking"] if one["reason"] == "blind"), None)
    if blind is not None and blind["trades"] >= minute.trades:
        return f"Nothing was decided: the trader took these trades blind ({blind['why']})."
    if minute.refilled == minute.trades:
        return f"Not {what}: the trades of that minute were filled in after a hole, and decide nothing."
    if minute.working and not (minute.asked_flat or minute.asked_held):
        return "An order was working: until it is over nothing else is decided."
    if not rules or minute.cold >= minute.trades:
        return "Not bought: the indicators were still warming up."
    return f"Not {what}: {_missed(rules, what, offset)}."


def _held_back(rule: Found, found: Found, what: str, offset: int) -> str:
    """A rule held and nothing came of it."""
    times = "once" if rule["held"] == 1 else f"at {rule['held']} trades"
    text = f"Not {what}, although {words(rule['rule'])} held {times} from {clock(rule['first_ms'], offset)} on"
    refused = [one for one in found["blocking"] if "refused" in one]
    reasons = [words(one["reason"]) for one in refused or found["blocking"]]
    return f"{text}: {', '.join(dict.fromkeys(reasons)) or 'nothing on record says why'}."


def _missed(rules: dict[str, Found], what: str, offset: int) -> str:
    if what == "bought":
        rsi, band = rules["mean_reversion"]["conditions"]
        return f"{_rsi(rsi, 'down', offset)}; {_band(band, offset)}"
    parts = []
    if "trailing_stop" in rules:
        stop = rules["trailing_stop"]["conditions"][0]
        if stop["margin"] is not None:
            parts.append(
                f"the price came to {price(stop['value'])} at {clock(stop['time_ms'], offset)},"
                f" {stop['margin_pct']:.2f} % above the stop at {price(stop['threshold'])}"
            )
    if "take_profit" in rules and rules["take_profit"]["conditions"][0]["margin"] is not None:
        parts.append(_rsi(rules["take_profit"]["conditions"][0], "up", offset))
    return "; ".join(parts)


def _rsi(one: Found, way: str, offset: int) -> str:
    told = f"RSI came {way} to {one['value']:.2f} at {clock(one['time_ms'], offset)}"
    if one["met"]:
        return f"{told} ({one['text']} was met)"
    return f"{told}, {'less' if way == 'down' else 'more'} than {one['threshold']:g} was needed"


def _band(one: Found, offset: int) -> str:
    """The price beside the band, at its nearest."""
    if one["met"]:
        away, both = f"{-one['margin_pct']:.2f} % below", ", but not both at once"
    else:
        away, both = f"{one['margin_pct']:.2f} % above", ""
    return f"the price was {away} the band at {clock(one['time_ms'], offset)}{both}"
