"""Documentation that the guarded modules share."""

from __future__ import annotations


class ModuleDocFragment:
    """The lease that a guarded change is made under."""

    DOCUMENTATION = r"""
options:
  lease:
    description:
      - The lease that the change is made under, as module M(benchkeeper.core.lease) gave it.
      - The change is refused when the lease ran out or is no longer this run's. Each guarded change renews it.
    type: dict
    required: true
    suboptions:
      resource: {description: What is leased; the host's name in the inventory., type: str, required: true}
      run_id: {description: The run that holds it., type: str, required: true}
      nonce: {description: What only the run knows., type: str, required: true}
      token: {description: The number that the lease was given with., type: int, required: true}
"""

    ITEM = r"""
options:
  item:
    description: What the run calls this change, in its journal and for a person who has to settle it. Letters, digits, C(.),
      C(_), C(-).
    type: str
    required: true
  group:
    description: >-
      Changes of a group are undone strictly in reverse order, and not any further once one of them cannot be undone. Groups
      do not wait for each other.
    type: str
    default: default
notes:
  - The keeper of the host journals the change and its undo durably before it is made, and undoes it without the controller.
  - Refused before M(benchkeeper.core.host_proof) has looked how the host is; the proof compares it with that look.
  - Needs root on the host.
"""
