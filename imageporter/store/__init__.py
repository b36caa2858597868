"""State on disk: the verified records, the push queue, the report file, the locks."""
