"""Chest CT: volumes through the cascade, slice by slice, and simulated pneumothorax to learn from."""
