# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of module host_snapshot_info: runs it on its host from memory."""

from __future__ import annotations

from ansible_collections.benchkeeper.core.plugins.modules import host_snapshot_info
from ansible_collections.benchkeeper.core.plugins.plugin_utils.from_memory import LookingAction


class ActionModule(LookingAction):
    """Leaves no trace on the host."""

    module = host_snapshot_info
