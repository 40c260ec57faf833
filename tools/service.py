"""Prints a systemd unit that runs this folder's bot as the owner of the folder, with how to install it.

- A boot goes on with the settings applied last: an edit of .env is taken on by `make restart`, as without a service.
- `systemctl stop` and a shutdown hold what is held: TERM to supervisord, which stops the trader first and storage last.
- `make stop` ends with exit code 0, so it stays off; a supervisord that was killed is started again, once its stages
  have ended in their order.
"""

import grp
import pwd
import sys
from pathlib import Path

from core import paths
from core.errors import BotError, MisconfiguredError
from core.settings_load import var_dir_only

UNIT = """\
# The bot in {folder} as a service of systemd. As a user who may sudo, in that folder:
#   make service | sudo tee /etc/systemd/system/{name}.service >/dev/null
#   make stop; sudo systemctl daemon-reload; sudo systemctl enable --now {name}
# From then on `make status`, `logs`, `restart`, `pause` … work as before, without sudo; `make stop` stops it until
# `sudo systemctl start {name}` or the next boot. Print it anew after moving the folder or changing VAR_DIR.
# What it says before the stages' own logs begin: journalctl -u {name}

[Unit]
Description=Trading bot in {folder}
Wants=network-online.target
After=network-online.target time-sync.target

[Service]
Type=simple
User={user}
Group={group}
WorkingDirectory={folder}
Environment="VAR_DIR={var}"
# Goes on with the settings applied last, ends what runs without supervisord, then becomes supervisord.
ExecStart="{folder}/.venv/bin/python" -m tools.up serve %n
# TERM goes to supervisord alone, which stops the stages one by one. Where it was killed itself they are not killed,
# too, as KillMode=mixed and control-group would, but end in the same order.
KillMode=process
ExecStopPost="{folder}/.venv/bin/python" -m tools.up sweep
TimeoutStopSec=60
Restart=on-failure
RestartSec=5
# 2: only a person can mend it
RestartPreventExitStatus=2
UMask=0077
LimitCORE=0

# It writes below VAR_DIR alone. Not MemoryDenyWriteExecute=: the compiled indicators need such memory.
ProtectSystem=strict
ReadWritePaths="{var}"
PrivateTmp=yes
PrivateDevices=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""
NAME = "scalp"
_UNFIT = set("$\"'\\")


def main() -> int:
    try:
        owner = paths.ROOT.stat()
        print(unit(paths.ROOT, var_dir_only(), _user(owner.st_uid), _group(owner.st_gid)), end="")
    except BotError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def unit(folder: Path, var: Path, user: str, group: str) -> str:
    """The unit's text. Raises MisconfiguredError for a path that systemd cannot be told plainly."""
    for path in (folder, var):
        if any(letter in _UNFIT or not letter.isprintable() for letter in str(path)):
            raise MisconfiguredError(
                f"a systemd unit cannot be written for {str(path)!r}: move it to a path without $, quotes, backslashes"
                " and control characters"
            )
    return UNIT.format(name=NAME, folder=_escaped(folder), var=_escaped(var), user=user, group=group)


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%%")


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a number does as well
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


if __name__ == "__main__":
    sys.exit(main())
