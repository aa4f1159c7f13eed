"""A program that reads its environment. OLD_MODE stands in this text only."""

import os

port = int(os.environ.get("PORT", "8080"))
token = os.environ["SHOP_TOKEN"]
rate = int(os.environ.get("RATE", "600"))
mode = os.getenv("MODE")
debug = os.environ.get("DEBUG", "")
where = os.environ.get("PATH")
os.environ["CHILD_ONLY"] = "1"
