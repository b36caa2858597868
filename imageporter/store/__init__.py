"""State on disk: records, the push queue, the report file, locks."""
