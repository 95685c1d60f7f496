"""A Redis-backed, horizontally scaled chat gateway."""

__version__ = "0.1.0"
