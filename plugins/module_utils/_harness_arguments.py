"""What modules `harness` and `replays` take alike; documented in the fragment `harness`."""

from __future__ import annotations

from typing import Any, Dict

WISH: Dict[str, Any] = {
    "tenants": {"type": "int", "default": 2},
    "kind": {"type": "str", "choices": ["builtin", "image", "binary"], "default": "builtin"},
    "image": {"type": "str", "default": ""},
    "binary": {"type": "path"},
    "build_id": {"type": "str", "default": ""},
    "version": {"type": "str", "choices": ["current", "seed"], "default": "current"},
    "breaks": {"type": "list", "elements": "str", "default": []},
    "edge_profile": {"type": "str", "default": "plain"},
    "port": {"type": "int", "default": 0},
    "rebuild": {"type": "bool", "default": False},
    "install": {"type": "bool", "default": False},
}
