"""Where the bot of this folder keeps its things."""

from pathlib import Path

from dotenv import dotenv_values

from core import paths, settings_load


def var_in_force() -> Path:
    """VAR_DIR of the environment over `.env`. No other setting is looked at: a wrong one must not hinder a stop."""
    text = settings_load.environment("VAR_DIR") or dotenv_values(paths.ENV_FILE, interpolate=False).get("VAR_DIR")
    return paths.absolute(text or "var")
