"""Who is told of a run, and what is shown of it: notifications, pings, metrics and the page."""
