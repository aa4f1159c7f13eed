"""What all unit tests share."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A busy machine is no failure: what is slow is measured elsewhere.
settings.register_profile("benchkeeper", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("benchkeeper")
