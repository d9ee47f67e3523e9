"""Files to films and CT volumes, told apart by content, never by name.

Films are DICOM X-rays and PNG, JPEG, WebP, TIFF. CT volumes are DICOM series, NIfTI files and
pictures of slices; they are found and opened by :mod:`pneumoseg.reading.volumes`.

:func:`read` gives one :class:`~pneumoseg.study.Image` or raises an
:class:`~pneumoseg.errors.InputError` whose ``code`` is one of

==================  ==============================================================================
empty-file          0 bytes
unreadable          permission denied, a broken link, a folder that cannot be listed
not-a-file          a folder, pipe or device instead of a file
unknown-format      none of the formats read here; JPEG 2000 outside DICOM is one of them
archive             zip, gzip, 7z, tar, ...: to be unpacked first
document            a PDF, text or table
dicomdir            the index of a DICOM medium, not an image
not-an-image        a DICOM object without an image: report, presentation state, PDF, segmentation
not-an-xray         CT, MR, ultrasound, ...
lateral-view        a side view by its tags
not-a-chest         another part of the body by its tags
multi-frame         more than one frame, page or, in a NIfTI file, volume
colour-image        colours that matter; grey stored as RGB is read
unsupported-pixels  a pixel type no X-ray has: 1 bit, 32 bit, floating point
no-decoder          compressed in a way no installed decoder reads
truncated           pixel data end early
damaged             the content contradicts itself or cannot be decoded
too-large           more than a film can have: a bomb or a damaged header
too-small           a side below 64 pixels
constant-image      every pixel has the same value
==================  ==============================================================================

CT volumes raise these too, and

==================  ==============================================================================
not-ct              an X-ray, MR, PET, ...; or no file at all
localizer           only localizers (scouts): there is no axial series beside them
unordered-series    slices without positions, or whose left and right cannot be told
mixed-series        several volumes that the headers do not tell apart
not-axial           sagittal or coronal slices
not-hu              values that are not, or cannot be, Hounsfield units of a chest
several-volumes     more than one volume where one was asked for
==================  ==============================================================================
"""

from pneumoseg.reading.file import read
from pneumoseg.reading.walk import walk

__all__ = ["read", "walk"]
