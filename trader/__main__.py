"""Starts the trader stage: `python -m trader`."""

from core.stage import later, run

if __name__ == "__main__":
    run("trader", later("trader.app", "build"), may_begin=later("trader.clearance", "may_begin"))
