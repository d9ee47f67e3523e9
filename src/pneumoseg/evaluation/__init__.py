"""``pneumoseg evaluate``: a run against the truth, and the report of it."""
