"""Chest CT: volumes through the cascade."""
