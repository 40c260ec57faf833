"""python -m watchdog"""

from core.stage import run
from watchdog.app import build

if __name__ == "__main__":
    run("watchdog", build)
