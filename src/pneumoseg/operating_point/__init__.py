"""Thresholds: which to choose, what may be claimed of them, and what they cost."""
