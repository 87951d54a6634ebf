from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numba import njit

from codec.layers.intrinsics import address_of, next_row, set_progress, wait_for


@njit(nogil=True)
def add_rows(values, progress):
    """Each value becomes the sum of the one before it and the one above its right neighbour, plus
    1.
    """
    rows, columns = values.shape
    counter = address_of(progress)
    while True:
        row = next_row(counter)
        if row >= rows:
            return
        for c in range(columns):
            if row > 0:
                wait_for(counter + 8 * row, min(c + 2, columns))
            above = values[row - 1, min(c + 1, columns - 1)] if row > 0 else 0
            before = values[row, c - 1] if c > 0 else 0
            values[row, c] = (above + before + 1) % 1000003
            set_progress(counter + 8 * (row + 1), c + 1)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_rows_wait_for_what_they_read(threads: int):
    """Catches rows that run ahead or are done twice, and threads that wait for each other."""
    for shape in ((1, 1), (40, 3), (3, 200), (64, 64)):
        alone, shared = np.full((2, *shape), -1, np.int64)
        add_rows(alone, np.zeros(1 + shape[0], np.int64))
        progress = np.zeros(1 + shape[0], np.int64)
        with ThreadPoolExecutor(threads) as pool:
            for work in [pool.submit(add_rows, shared, progress) for _ in range(threads)]:
                work.result(timeout=60)
        assert (alone == shared).all() and (alone >= 0).all()
