"""Files, paths, errors, processes and the machine."""
