"""Run lengths of the SIIM-ACR challenge, by hand and at full size.

    python examples/03_run_lengths.py

Pairs «start length», read column by column; each start counts from the end of the run before.
"""

from __future__ import annotations

import numpy as np

from pneumoseg import rle


def main() -> None:
    """Write a small mask, read it back, unite two annotations, do the same at 1024×1024."""
    mask = np.zeros((4, 5), dtype=np.bool_)
    mask[1:3, 1] = True  # column 1, rows 1 and 2: pixels 5 and 6, counted down the columns
    mask[3, 2] = True  # column 2, row 3: pixel 11, four after the end of the run before
    text = rle.encode(mask)
    print("small mask   ", text)  # 5 2 4 1
    print("reads back   ", bool((rle.decode(text, mask.shape) == mask).all()))

    print("empty mask   ", rle.encode(np.zeros((4, 5), dtype=np.bool_)))  # -1
    united = rle.decode_union(["5 2", "11 1"], (4, 5))  # two annotations of one image
    print("union        ", rle.encode(united))  # 5 2 4 1 again

    rows, cols = np.ogrid[:1024, :1024]
    crescent = (rows - 400) ** 2 + (cols - 300) ** 2 < 200**2
    crescent &= (rows - 420) ** 2 + (cols - 330) ** 2 > 200**2
    text = rle.encode(crescent)
    same = bool((rle.decode(text, crescent.shape) == crescent).all())
    print("1024 × 1024  ", f"{crescent.sum()} pixels, {len(text)} characters, reads back: {same}")


if __name__ == "__main__":
    main()
