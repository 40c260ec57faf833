"""`python -m backtest`: replays, sweeps, parity, conversion and history; see `backtest.cli`."""

import sys

from backtest.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
