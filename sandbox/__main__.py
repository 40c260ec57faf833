"""`python -m sandbox`: the local exchange."""

from core.stage import later, run_async

if __name__ == "__main__":
    run_async("sandbox", later("sandbox.app", "main"))
