"""Running passes on a schedule, with supercronic."""
