"""What modules `harness` and `replays` take alike."""

from __future__ import annotations


class ModuleDocFragment:
    """Options that say what a harness consists of."""

    DOCUMENTATION = r"""
options:
  tenants: {description: How many tenants replays share., type: int, default: 2}
  kind:
    description: "Kind of tenant: our own, an image of the engine, a program."
    type: str
    choices: [builtin, image, binary]
    default: builtin
  image: {description: 'Image of the tenant, for O(kind=image).', type: str, default: ''}
  binary: {description: 'Program of the tenant, or a folder with one called C(tenant), for O(kind=binary).', type: path}
  build_id: {description: What a tenant from outside says that it was built of., type: str, default: ''}
  version:
    description: V(seed) is the recorded version, with all that it did wrong.
    type: str
    choices: [current, seed]
    default: current
  breaks: {description: 'Bugs to bring back, C(tenant:NAME), C(stub:NAME), C(edge:NAME).', type: list, elements: str, default: []}
  edge_profile: {description: Table of headers of the edge., type: str, default: plain}
  port: {description: Loopback port of the edge; 0 for a free one., type: int, default: 0}
  rebuild: {description: Whether nothing of an earlier build is used., type: bool, default: false}
  install: {description: Whether missing programs may be installed on this computer., type: bool, default: false}
"""
