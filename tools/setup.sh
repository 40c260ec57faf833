#!/usr/bin/env bash
# Builds .venv: `tools/setup.sh run` with what the bot needs, `tools/setup.sh test` with the test tools too.
# Quick when there is nothing to do. Needs no root and no compiler. pip takes index and proxy from its own configuration.
#
# The environment is built in .venv.new and moved into place whole; a stamp written last says what it was built from
# (requirements, Python, folder). Broken off, moved or outdated, it has no stamp that fits and is built anew.
set -euo pipefail

mode=${1:-run}
case "$mode" in run | test) ;; *) echo "usage: tools/setup.sh run|test" >&2; exit 2 ;; esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
venv=$root/.venv
aside=$root/.venv.new
oldest=11
newest=14

say() { echo "set-up: $*"; }
refuse() {
    echo "set-up: $*" >&2
    exit 2
}

# what an environment is, told by its interpreter: "3.11 x86_64 64"
describe='import os, sys
print("%d.%d" % sys.version_info[:2], os.uname().machine, 64 if sys.maxsize > 2**32 else 32)'
# what the bot and its set-up take from Python itself; Debian splits venv and ensurepip off
probe='import ctypes, ensurepip, sqlite3, ssl, venv, zlib
ensurepip.version()'

wanted_stamp() { # LOCK: the stamp that a finished .venv has, nothing where its interpreter does not start
    local about
    about=$("$venv/bin/python" -I -S -c "$describe" 2>/dev/null) || return 1
    printf 'requirements %s\npython %s\nfolder %s\n' "$(sha256sum <"$1" | cut -d' ' -f1)" "$about" "$root"
}

fits() { # STAMP LOCK
    [ -f "$venv/$1" ] && [ "$(cat "$venv/$1")" = "$(wanted_stamp "$2")" ]
}

ready() {
    fits stamp-run requirements.txt && { [ "$mode" = run ] || fits stamp-test requirements-dev.txt; }
}

refuse_small_machine() {
    local machine bits
    machine=$(uname -m)
    bits=$(getconf LONG_BIT 2>/dev/null || echo 64)
    case "$machine" in
        x86_64 | aarch64 | arm64) ;;
        *) refuse "this machine ($machine) is not supported: the bot needs 64-bit x86-64 or ARM (aarch64), as numpy, numba and pyzmq come for no 32-bit one." ;;
    esac
    [ "$bits" = 64 ] || refuse "the programs on this machine are $bits-bit (on a 64-bit kernel): install the 64-bit system, as numpy, numba and pyzmq come for no 32-bit one."
}

# Sets `python` to the first interpreter that works, or tells what is missing: the system's own (distributions build theirs
# optimised; as pyenv builds it by itself the bot takes a quarter more processor), else the newest; SET_UP_PYTHON alone
# where that is set. SET_UP_SYSTEM_PYTHON is for the tests.
choose_python() {
    local minor name about lacking='' narrow=''
    local -a names=("${SET_UP_SYSTEM_PYTHON:-/usr/bin/python3}")
    for ((minor = newest; minor >= oldest; minor--)); do names+=("python3.$minor"); done
    names+=(python3)
    [ -z "${SET_UP_PYTHON:-}" ] || names=("$SET_UP_PYTHON")
    python=
    for name in "${names[@]}"; do
        about=$("$name" -I -c "$describe" 2>/dev/null) || continue
        minor=${about#3.}
        minor=${minor%% *}
        { [ "${about%%.*}" = 3 ] && [ "$minor" -ge $oldest ] && [ "$minor" -le $newest ]; } || continue
        case "$about" in *' 32')
            narrow=$name
            continue
            ;;
        esac
        if why=$("$name" -I -c "$probe" 2>&1); then
            python=$("$name" -I -c 'import sys; print(sys.executable)')
            return
        fi
        lacking=${lacking:-$name: $(tail -n 1 <<<"$why")}
    done
    [ -z "$narrow" ] || refuse "$narrow is a 32-bit program: install the 64-bit system, as numpy, numba and pyzmq come for no 32-bit one."
    if [ -n "$lacking" ]; then
        name=${lacking%%:*}
        name=${name##*/}
        case "$name" in python3*) ;; *) name=python3 ;; esac
        [ "$(python3 -c 'import sys; print("python3.%d" % sys.version_info[1])' 2>/dev/null)" != "$name" ] || name=python3
        refuse "$lacking. Type: sudo apt install $name-venv   (then the same command again)"
    fi
    [ -z "${SET_UP_PYTHON:-}" ] || refuse "SET_UP_PYTHON: $SET_UP_PYTHON is no Python 3.$oldest to 3.$newest that starts. Name another, or unset it"
    refuse "no Python 3.$oldest to 3.$newest was found (python3 is $(python3 --version 2>/dev/null || echo 'not installed')). Type: sudo apt install python3 python3-venv"
}

# What it costs, told before it starts, in MB: the downloads, what stays on the disk, and what must be free meanwhile, when
# the downloads lie in pip's cache, again beside it, and are being unpacked. Measured with the locks of this release.
announce() { # DOWNLOADS STAYS NEEDS
    local free
    free=$(df -Pk "$root" | awk 'NR == 2 { print int($4 / 1024) }')
    [ "$free" -ge "$3" ] || refuse "$3 MB of free disk are needed in $root, $free MB are free."
    say "downloads about $1 MB (less what pip's cache has), fills $2 MB of the $free MB free in $root/.venv"
}

install() { # PYTHON LOCK...
    local python=$1 lock locks=()
    shift
    for lock in "$@"; do locks+=(--requirement "$lock"); done
    mkdir -p "$root/.venv.tmp" # downloads lie on this disk: /tmp is small memory on some boards
    # shown: one line a download, as a slow line takes minutes for the large ones
    if ! TMPDIR=$root/.venv.tmp PIP_DISABLE_PIP_VERSION_CHECK=1 "$python" -m pip install --no-input --require-hashes --only-binary :all: \
        --progress-bar off "${locks[@]}" | sed -nu -e 's/^ *Downloading \([^ ]*\) \((.*)\)$/set-up:   \1 \2/p' \
        -e 's/^Installing collected packages.*/set-up: unpacks the packages/p'; then
        rm -rf "$root/.venv.tmp" "$aside" # half an environment would only fill the disk
        echo "set-up: pip could not install the packages, it says why above. Nothing else was changed: the same command tries again." >&2
        exit 1
    fi
    rm -rf "$root/.venv.tmp"
}

build() {
    refuse_small_machine
    choose_python
    rm -rf "$aside" "$root/.venv.old" "$root/.venv.tmp" # what a broken-off one left
    say "$("$python" -I -c 'import sys; print("Python", sys.version.split()[0])') ($python)"
    local locks=(requirements.txt)
    if [ "$mode" = run ]; then
        announce 90 380 600
    else
        announce 190 690 1100
        locks+=(requirements-dev.txt)
    fi
    "$python" -m venv "$aside" || refuse "$python cannot make a virtual environment, it says why above."
    install "$aside/bin/python" "${locks[@]}"
    # scripts name their interpreter by its whole path: tell them where it will be
    { grep -rlIZF "$aside" "$aside/bin" "$aside/pyvenv.cfg" || true; } | xargs -0r sed -i "s|$aside|$venv|g"
    [ ! -e "$venv" ] || mv "$venv" "$root/.venv.old"
    mv "$aside" "$venv"
    rm -rf "$root/.venv.old"
    stamp "${locks[@]}"
}

stamp() { # LOCK...
    local lock name
    for lock in "$@"; do
        case "$lock" in *-dev.txt) name=stamp-test ;; *) name=stamp-run ;; esac
        wanted_stamp "$lock" >"$venv/$name.new"
        mv "$venv/$name.new" "$venv/$name"
    done
}

set_up() {
    if fits stamp-run requirements.txt && [ ! -e "$venv/stamp-test" ]; then # only the test tools are missing
        say "adds the test tools"
        announce 100 310 550
        install "$venv/bin/python" requirements.txt requirements-dev.txt
        stamp requirements-dev.txt
    else
        build
    fi
    say "ready"
}

if ! ready; then
    exec 9>"$root/.venv.lock"
    if ! flock -n 9; then
        say "another set-up is at work in this folder, waiting for it"
        flock 9
    fi
    ready || set_up # the other one may have done it all
    exec 9>&-
fi

compiles() { [ ! -f tools/warm.py ] || "$venv/bin/python" -m tools.warm "$@"; }

if [ "$mode" = run ]; then
    compiles
else # a minute of one core, which the installation of the browser below does not use
    compiles --all &
    compiling=$!
    trap 'kill "$compiling" 2>/dev/null || true' EXIT # broken off, nothing goes on by itself
fi

# Names the Debian packages that the browser tests need and that are not there: playwright's own node wants libatomic.
browser_lacks() {
    local node
    command -v chromium >/dev/null || command -v chromium-browser >/dev/null || echo chromium
    for node in "$venv"/lib/python3*/site-packages/playwright/driver/node; do
        [ ! -x "$node" ] || "$node" --version >/dev/null 2>&1 || echo libatomic1
    done
}

if [ "$mode" = test ]; then
    mapfile -t lacking < <(browser_lacks)
    if [ "${#lacking[@]}" = 0 ]; then
        : # the browser tests can run
    elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installs ${lacking[*]} for the browser tests (apt-get)"
        { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${lacking[@]}" >/dev/null; } ||
            say "${lacking[*]} could not be installed: the browser tests cannot run"
    else
        say "no ${lacking[*]}: the browser tests will be skipped. To have them: sudo apt install ${lacking[*]}"
    fi
    wait "$compiling"
    trap - EXIT
fi
