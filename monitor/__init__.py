"""Watches the runs of syncd from outside (the service itself comes with a later release)."""
