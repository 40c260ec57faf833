"""Starts the trader stage: `python -m trader`."""

from core.stage import run
from trader.app import build

if __name__ == "__main__":
    run("trader", build)
