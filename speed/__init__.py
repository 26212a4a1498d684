"""Speed and memory beside named peers and of the pipeline: ``python -m speed.NAME``."""
