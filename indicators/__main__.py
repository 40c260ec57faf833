"""python -m indicators: candles, Bollinger bands, RSI and reason codes for every trade on the tape."""

from core.stage import run
from indicators.app import build

if __name__ == "__main__":
    run("indicators", build)
