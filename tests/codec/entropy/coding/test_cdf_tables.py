import math

import pytest

from codec.entropy.coding.cdf_tables import quantised


@pytest.mark.parametrize(
    "masses", [[1], [1, 1, 1], [10**30, 0, 0, 10**12], list(range(3000)), [2**64, *[1] * 2000]]
)
def test_frequencies_add_up_and_no_exchange_of_one_is_cheaper(masses: list[int]):
    """Catches entries without a frequency, a wrong sum, and leftovers that went to the wrong
    entries.
    """
    frequencies = quantised(masses)
    assert sum(frequencies) == 1 << 16 and min(frequencies) >= 1
    saved = max(m * math.log2((f + 1) / f) for m, f in zip(masses, frequencies, strict=True))
    lost = min(
        (m * math.log2(f / (f - 1)) for m, f in zip(masses, frequencies, strict=True) if f > 1),
        default=math.inf,
    )
    assert saved <= 1.05 * lost  # the derivative is 4 % off at a frequency of 1
