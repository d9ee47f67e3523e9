"""``pneumoseg simulate``: pneumothorax made in CT scans that have none."""
