"""Telling the truth about a pneumothorax model: data, figures, claims, audits; one idea a file."""
