"""How many calls a client may make: so many a window of 60 s, as CoinDCX's public answers say of themselves."""

WINDOW_S = 60
MOST = 5000
CLIENTS_MOST = 1000


class Allowance:
    """Counts calls by client in fixed windows."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.policy = f"{most};w={WINDOW_S}"
        self._used: dict[str, tuple[int, int]] = {}  # client: (window's start, calls in it)

    def take(self, client: str, now_s: int) -> tuple[int, int]:
        """Counts one call; (calls left, negative where there were too many; seconds until the window ends)."""
        start, used = self._used.get(client, (now_s, 0))
        if now_s - start >= WINDOW_S:
            start, used = now_s, 0
        if len(self._used) >= CLIENTS_MOST:
            self._used.clear()
        self._used[client] = (start, used + 1)
        return self.most - used - 1, WINDOW_S - (now_s - start)
