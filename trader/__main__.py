"""Starts the trader stage: `python -m trader`."""

from core.stage import run
from trader.app import build
from trader.clearance import may_begin

if __name__ == "__main__":
    run("trader", build, may_begin=may_begin)
