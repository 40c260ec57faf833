"""Other books left with an open position: whoever changes VENUE or the sandbox's seed should not forget them."""

from pathlib import Path

from storage.queries import History

DATABASE = "bot_data.db"
MAX_BOOKS = 50
LOOK_BACK = 200  # trades; of more pairs than that the older ones are not looked at


def left_open(folder: Path, own: str) -> list[str]:
    """`BOOK: PAIR, PAIR` for each other book below `folder` whose newest trade of a pair is an entry."""
    found = []
    for book in sorted(folder.iterdir())[:MAX_BOOKS] if folder.is_dir() else []:
        if book.name == own or not (book / DATABASE).is_file():
            continue
        pairs = _open_pairs(book / DATABASE)
        if pairs:
            found.append(f"{book.name}: {', '.join(pairs)}")
    return found


def _open_pairs(database: Path) -> list[str]:
    history = History(database)
    try:
        rows = history.trades(LOOK_BACK)
    except Exception:  # noqa: BLE001 - another book's damaged file is no affair of this one
        return []
    finally:
        history.close()
    newest: dict[str, str] = {}
    for row in rows:
        newest.setdefault(row["pair"], row["action"])
    return sorted(pair for pair, action in newest.items() if action == "buy")
