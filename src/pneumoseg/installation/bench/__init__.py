"""``pneumoseg bench``: what both stages cost on this machine, and when the cascade pays."""
