"""`python -m benchkeeper`: what `./bench` hands over to."""

from __future__ import annotations

import sys

from benchkeeper.cli import main

sys.exit(main(sys.argv[1:]))
