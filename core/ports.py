"""Who listens on a TCP port of this machine, read from /proc."""

from pathlib import Path

LISTENING = "0A"  # state of a TCP socket in /proc/net/tcp


def port_holder(port: int, proc: Path = Path("/proc")) -> str | None:
    """`NAME (pid N)` of the process that listens on `port`; None where it cannot be read (another user's)."""
    inodes = _listening_inodes(port, proc)
    if not inodes:
        return None
    for folder in proc.glob("[0-9]*"):
        try:
            if any(str(link.readlink()) in inodes for link in (folder / "fd").iterdir()):
                return f"{(folder / 'comm').read_text().strip()} (pid {folder.name})"
        except OSError:
            continue  # another user's, or gone meanwhile
    return None


def _listening_inodes(port: int, proc: Path) -> set[str]:
    found = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found
