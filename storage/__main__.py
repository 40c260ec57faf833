"""`python -m storage`: keeps the history of the book."""

from core.stage import later, run

if __name__ == "__main__":
    run("storage", later("storage.app", "build"))
