"""python -m feeder"""

from core.stage import run_async
from feeder.app import main

if __name__ == "__main__":
    run_async("feeder", main)
