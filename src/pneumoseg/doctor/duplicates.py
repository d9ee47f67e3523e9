"""Copies of one picture under several names: exact, and nearly so.

Exact copies have the same decoded pixels. Near copies are found by correlating small pictures from
which the coarse shading was taken (a local mean and a local contrast on 48×48), so that brightness,
contrast, gamma, size and compression do not matter, while any two chests, alike in the coarse, do
not correlate. How often that is right is measured by ``benchmarks/doctor_content.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 48
SIGMA = 3.0
"""Of the local mean and contrast, in pixels of the small picture."""
NEAR = 0.90
"""Correlation from which two films are shown as a pair: copies, or one patient twice in a row."""
CERTAIN = 0.95
"""Correlation from which two films are taken for one picture; two films in a row reach 0.91."""
BLOCK = 512
"""Films compared with all others at once."""
PARTNERS = 10
"""Most alike later films kept for each film, so that a thousand copies stay a list one can read."""
_FAINTEST = 0.005
_ROUNDING = 1e-5
"""How far a float32 matrix product may be from the correlation that decides."""

SAME, MIRRORED, INVERTED = "same", "mirrored", "inverted"


@dataclass(frozen=True)
class Pair:
    """Two films that show one picture: indices, correlation in [0, 1], and how they relate."""

    first: int
    second: int
    similarity: float
    relation: str


def signature(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reduce a film to what its copies share.

    Args:
        pixels: (rows, cols) in [0, 1].

    Returns:
        float32 (2304,): 48×48, mean 0, norm 1; all 0 for a film without structure.
    """
    small = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    detail = small - cv2.GaussianBlur(small, (0, 0), SIGMA)
    detail /= np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), SIGMA)) + np.float32(_FAINTEST)
    detail -= detail.mean()
    norm = float(np.linalg.norm(detail))
    flat: NDArray[np.float32] = (detail / norm if norm > 0 else detail).ravel()
    return flat.astype(np.float32)


def near_pairs(signatures: NDArray[np.float32]) -> list[Pair]:
    """Find films that show one picture, also mirrored (left-right) or inverted.

    Args:
        signatures: float32 (n, 2304) of :func:`signature`.

    Returns:
        pairs with ``first < second``, most alike first, equally alike ones by their indices. Exact
        copies are among them. Cost grows with n², at about a second for 5,000 films; memory with n.
    """
    mirrored = signatures.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(len(signatures), -1)
    best: dict[tuple[int, int], Pair] = {}
    for start in range(0, len(signatures), BLOCK):
        block = signatures[start : start + BLOCK]
        for others, relation in ((signatures, SAME), (mirrored, MIRRORED)):
            likeness = block @ others[start:].T  # (block, later films)
            likeness[np.tril_indices(len(block), 0, likeness.shape[1])] = 0.0
            for row, column in _strongest(np.abs(likeness)):
                value = _correlation(block[row], others[start + column])
                if abs(value) < NEAR:
                    continue
                named = relation if value > 0 else INVERTED
                pair = Pair(start + row, start + column, min(1.0, abs(value)), named)
                known = best.get((pair.first, pair.second))
                if known is None or known.similarity < pair.similarity:
                    best[pair.first, pair.second] = pair
    return sorted(best.values(), key=lambda pair: (-pair.similarity, pair.first, pair.second))


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Of one pair, in float64 and of six digits.

    A matrix product adds up in an order that depends on the block's size and on the processor; a
    list that is sorted by its last digits would too.
    """
    return round(float(np.dot(first.astype(np.float64), second.astype(np.float64))), 6)


def _strongest(likeness: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Places about ``NEAR`` and above, at most ``PARTNERS`` in a row."""
    nearly = NEAR - _ROUNDING
    found = []
    for row in np.flatnonzero(likeness.max(axis=1, initial=0.0) >= nearly):
        columns = np.flatnonzero(likeness[row] >= nearly)
        ranked = columns[np.argsort(-likeness[row, columns], kind="stable")][:PARTNERS]
        found += [(int(row), int(column)) for column in ranked]
    return found


def exact_groups(digests: Sequence[str]) -> list[list[int]]:
    """Indices of films with the same digest, groups of two or more, largest first."""
    groups: dict[str, list[int]] = {}
    for index, digest in enumerate(digests):
        groups.setdefault(digest, []).append(index)
    return sorted((g for g in groups.values() if len(g) > 1), key=lambda g: (-len(g), g))
