"""DICOM: what is accepted, decoding, display."""
