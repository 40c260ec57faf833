"""python -m feeder"""

from core.stage import later, run_async

if __name__ == "__main__":
    run_async("feeder", later("feeder.app", "main"))
