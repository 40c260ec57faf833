"""`python -m sandbox`: the local exchange."""

from core.stage import run_async
from sandbox.app import main

if __name__ == "__main__":
    run_async("sandbox", main)
