"""`python -m dashboard`: the page."""

from core.stage import run_async
from dashboard.app import main

if __name__ == "__main__":
    run_async("dashboard", main)
