"""Telling the truth about a pneumothorax model: data, figures, claims, audits."""
