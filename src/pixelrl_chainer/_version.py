"""The version of this package; every other mention of it is read from or checked against here."""

__version__ = "0.1.0"
