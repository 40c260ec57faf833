"""`python -m storage`: keeps the history of the book."""

from core.stage import run
from storage.app import build

if __name__ == "__main__":
    run("storage", build)
