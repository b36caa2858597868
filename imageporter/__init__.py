"""The package under the scripts sync.py, entrypoint.py and hook.py."""
