"""python -m guardian"""

from core.stage import run_async
from guardian.app import main

if __name__ == "__main__":
    run_async("guardian", main)
