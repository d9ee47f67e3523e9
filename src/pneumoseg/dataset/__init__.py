"""Films and volumes with their truth, prepared for training; no torch."""
