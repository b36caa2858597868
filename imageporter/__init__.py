"""What the scripts `entrypoint.py` and `sync.py` stand on."""
