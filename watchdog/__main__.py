"""python -m watchdog"""

from core.stage import later, run

if __name__ == "__main__":
    run("watchdog", later("watchdog.app", "build"))
