"""What all tests share: no test depends on an idle machine."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# How long an example takes is the machine's affair: the first draw of text in a fresh clone builds
# tables for seconds, and other programs may have the cores.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")
