"""``pneumoseg predict``: many inputs through the cascade into one folder, resumable."""
