"""Data sets and tasks: images as uint8 tensors, prepared once."""
