"""Training: one engine, a store of finished runs, and many of them side by side."""
