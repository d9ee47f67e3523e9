"""Findings and films to files: tables, overlays, DICOM."""
