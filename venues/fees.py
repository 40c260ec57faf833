"""What a venue charges where neither its answers nor the settings say: taker and maker fee in basis points."""

from decimal import Decimal

SANDBOX = Decimal(5)
BINANCE = Decimal(10)
KRAKEN = (Decimal(40), Decimal(25))  # taker and maker of the first tier
COINDCX = {"INR": Decimal(59), "USDT": Decimal(24)}  # 0.5 % and 0.2 %, each plus 18 % GST
COINDCX_OTHER = Decimal(59)  # the dearer one where nothing is known


def fees_bps(venue: str, quote: str) -> tuple[Decimal, Decimal]:
    """Taker and maker fee of a market in `quote`; venue as in the setting VENUE."""
    if venue == "sandbox":
        return SANDBOX, SANDBOX
    if venue == "binance":
        return BINANCE, BINANCE
    if venue == "kraken":
        return KRAKEN
    fee = COINDCX.get(quote, COINDCX_OTHER)
    return fee, fee
