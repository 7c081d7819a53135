"""Syncs a marketplace's offers into PostgreSQL, and says `complete` only when that is proven.

This file imports nothing, so that a broken daemon cannot take the monitor down with it.
"""

__version__ = "0.1.0"
