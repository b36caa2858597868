"""Talking to registries: look-ups in this process, everything else through crane."""
