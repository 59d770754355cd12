"""Timings never decide a test: a busy machine is no failure."""

from hypothesis import HealthCheck, settings

settings.register_profile("portkit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("portkit")
