"""The version, read here by the build too."""

__version__ = "0.1.0"
