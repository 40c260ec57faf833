"""Every figure beside its floor, in one table: `python -m tools.bench [NAME …] [--json FILE] [--compare FILE]`."""

import sys

from tools.bench.suite import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
