"""The package under the scripts sync.py, entrypoint.py and hook.py."""

__version__ = "1.0.0"  # the only place; `make bump` changes it, and the documents that name it
USER_AGENT = f"imageporter/{__version__}"
