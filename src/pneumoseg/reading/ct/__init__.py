"""DICOM CT: headers, files to series, slices in order, frames; a picture of a slice."""
