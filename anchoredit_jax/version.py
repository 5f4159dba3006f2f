"""The version of this package, in one place that nothing else hangs on."""

__version__ = "0.1.0"
