"""One pass: look up, compare, copy, verify."""
