"""Print the tag of the image `runtime`, built when it is missing."""

from __future__ import annotations

import sys

from benchkeeper import engine, images, paths

here = paths.checkout()
wanted = {"runtime": images.recipes(here, "tenant", [])["runtime"]}
sys.stdout.write(images.ensure(engine.ensure(install=True), here, wanted, install=True)["runtime"])
