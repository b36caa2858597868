"""The package under the scripts sync.py, entrypoint.py and hook.py."""

__version__ = "1.0.0.dev0"
