"""python -m indicators: candles, Bollinger bands, RSI and reason codes for every trade on the tape."""

from core.stage import later, run

if __name__ == "__main__":
    run("indicators", later("indicators.app", "build"))
