"""Telling people and machines how a run ended: notifications, pings, metrics and the status page."""
