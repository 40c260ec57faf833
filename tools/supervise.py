"""supervisord, which a disk that takes no logs does not end: `python -m tools.supervise -c FILE`.

What a log file refuses supervisord tells on its error output. That is a file on the same disk: the second refusal would
end supervisord, and with it the bot. Here the error output refuses nothing; what it cannot take is left out.
"""

import contextlib
import sys
from typing import TextIO

from supervisor import supervisord


class Unfailing:
    """A text stream whose writes never fail."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()


if __name__ == "__main__":
    sys.stderr = Unfailing(sys.stderr)
    supervisord.main()
