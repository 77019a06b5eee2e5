"""Seeds and permutations as pure functions of their identity, without random state."""

import hashlib

_NOISES = 2**32
_STRIDE = 0x9E3779B1  # 2^32 over the golden ratio: its multiples are far apart (Knuth, vol. 3, section 6.4)


def sample_seed(run_seed: int, index: int, attempt: int) -> int:
    """Return the seed of one attempt at one slot of a run, below 2^63 so that it fits a signed 64-bit integer.

    The lower 32 bits are distinct for a billion slots with three attempts, and for 21 million with 100.
    """
    # torch's CPU generators use the lower 32 bits alone. A permutation keeps these distinct; a hash would repeat some,
    # and two images of a run would start from equal noise.
    noise = permute((index + attempt * _STRIDE) % _NOISES, _NOISES, key=_hash(b"noise", run_seed))
    return _hash(b"sample", run_seed, index, attempt) >> 33 << 32 | noise


def permute(index: int, size: int, key: int) -> int:
    """Return the image of `index` under a pseudo-random permutation of range(size), without a table."""
    # A four-round Feistel network on the next even number of bits, repeated until the result is in range, at most four
    # times on average (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002).
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for round_number in range(4):
            left, right = right, left ^ (_hash(b"permute", key, round_number, right) & mask)
        index = left << half | right
        if index < size:
            return index


def _hash(purpose: bytes, *numbers: int) -> int:
    """Hash the numbers to 64 bits by BLAKE2b; `purpose` separates independent uses."""
    data = b",".join([b"%d" % number for number in numbers])
    return int.from_bytes(hashlib.blake2b(data, digest_size=8, person=purpose).digest(), "big")
