"""Entry point of the zipapp and of ``python -m keeper``."""

import sys

from keeper.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
