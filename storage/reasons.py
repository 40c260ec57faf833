"""What an error of the database means to a person, with the next step."""

_NEXT_STEPS = {
    "locked": "another program holds it: end its transaction or close it",
    "full": "the disk is full: free some space",
    "readonly": "it is read-only: check the permissions of the file and its folder",
    "disk I/O error": "the disk fails: look into the system's log",
    "unable to open": "check that its folder is there and may be written",
}

_DAMAGE = ("not a database", "malformed")


def is_damage(error: BaseException) -> bool:
    """Whether the file itself is damaged: to wait does not help."""
    return any(sign in str(getattr(error, "orig", None) or error) for sign in _DAMAGE)


def reason(error: BaseException) -> str:
    """What went wrong with the next step, where the text of the error tells it."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    text = str(getattr(error, "orig", None) or error)
    for sign, step in _NEXT_STEPS.items():
        if sign in text:
            return f"{text} ({step})"
    return text
