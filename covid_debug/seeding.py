"""Seeds that belong to images, not to batches or to the order of work.

Owns the derivation of integer seeds; creates no generator and touches no global state.
"""

import hashlib


def derive_seed(run_seed: int, *scope: str | int) -> int:
    """Derive one independent seed from the run's seed and a scope.

    Args:
        run_seed: The seed of the whole run.
        scope: What the seed is for, for example ``(image_id, "igos_pp")``. Order matters.

    Returns:
        An integer in [0, 2**63), the same on every machine and Python version.
    """
    text = "\x1f".join([str(run_seed), *map(str, scope)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
