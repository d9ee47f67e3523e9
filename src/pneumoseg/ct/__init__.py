"""Chest CT: volumes through the cascade, and simulated pneumothorax to learn from."""
