"""Figures and their uncertainty: weighted films, resampling, bounds, lesions, borders."""
