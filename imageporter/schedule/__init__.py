"""Running passes on a schedule: supercronic, its crontab, and the supervisor above it."""
