"""Move an application between hosts as a container image and as a bootable disk."""

__version__ = "0.1.0"
