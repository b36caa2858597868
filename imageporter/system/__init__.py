"""The operating system: signals, child processes, programs, logging."""
