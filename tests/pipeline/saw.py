"""A market that rises slowly and falls at once, so that no test waits long for either."""

from pathlib import Path

FALL_S = 0.5


def saw(
    path: Path,
    begins_ms: int = 1_700_000_000_000,
    period_s: int = 40,
    *,
    quantity: str = "1.0",
    sinks: float = 0.0,
) -> Path:
    """Half an hour of ten trades a second, as a file to play: up by half a percent in each period, and back in its last
    half second. Each period begins by `sinks` lower; the decimals of `quantity` are the market's step."""
    rows = ["ts_ms,price,qty"]
    rise_s = period_s - FALL_S
    for n in range(18_000):
        period, at = divmod(n / 10, period_s)
        level = 80_000 - sinks * period + 400 * (at / rise_s if at < rise_s else (period_s - at) / FALL_S)
        rows.append(f"{begins_ms + 100 * n},{level + (15 if n // 10 % 2 else -15):.2f},{quantity}")
    path.write_text("\n".join(rows) + "\n")
    return path
