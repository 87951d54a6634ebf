"""Whole frequencies for the entropy coder, in integer arithmetic: the same on every machine."""

import heapq

from codec.entropy.rans import PRECISION


def quantised(masses: list[int]) -> list[int]:
    """Frequencies of at least 1 that add up to 2^16, where they cost the fewest bits.

    They start at their share, rounded down. What is left, or was taken too much by lifting shares
    below 1, goes one by one where it saves the most bits, or saves the fewest.

    Args:
        masses: probabilities of 1 to 2^16 entries times any one number, at least 0.

    Source: the derivative of the cost `-m log2 f`, halfway to the next frequency: greedy as optimal
    allocation is, since the cost is convex (Fox, *Discrete optimization via marginal analysis*,
    1966).
    """
    whole = sum(masses)
    frequencies = [max(1, (mass << PRECISION) // whole) for mass in masses]
    left = (1 << PRECISION) - sum(frequencies)
    step = 1 if left > 0 else -1

    def loss(i: int) -> int:
        """What one step costs in entry `i`, negative where it saves."""
        return -step * (masses[i] << 2 * PRECISION) // (2 * frequencies[i] + step)

    queue = [(loss(i), i) for i in range(len(masses)) if frequencies[i] + step > 0]
    heapq.heapify(queue)
    for _ in range(abs(left)):
        _, i = queue[0]
        frequencies[i] += step
        if frequencies[i] + step > 0:
            heapq.heapreplace(queue, (loss(i), i))
        else:
            heapq.heappop(queue)
    return frequencies
