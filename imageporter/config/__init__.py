"""The environment, flags and files, read into data."""
