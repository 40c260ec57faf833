"""`python -m dashboard`: the page."""

from core.stage import later, run_async

if __name__ == "__main__":
    run_async("dashboard", later("dashboard.app", "main"))
