"""python -m guardian"""

from core.stage import later, run_async

if __name__ == "__main__":
    run_async("guardian", later("guardian.app", "main"))
