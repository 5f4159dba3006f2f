"""Seeded damages of files: of their bytes, and of the values of the JSON in them."""

import copy
import math

import numpy as np

DEEP: list = []
for _ in range(60):
    DEEP = [DEEP]
HOSTILE = (
    *(None, True, 0, -1, 1, 7, 2**31, 10**9, 10**400, -1.5, 1e300, math.nan, math.inf),
    *("", "x", "none", "../..", "\udcff", "9" * 300, [], {}, [1], [[]], {"a": 1}, DEEP),
)


def damage_bytes(data: bytes, seed: int) -> bytes:
    """One to three bytes changed, a part cut out, doubled or overwritten, or an end."""
    rng = np.random.default_rng(seed)
    made = bytearray(data)
    first, last = sorted(rng.integers(0, len(made) + 1, 2).tolist())
    kind = seed % 5
    if kind == 0:
        for place in rng.integers(0, len(made), rng.integers(1, 4)):
            made[place] = rng.integers(0, 256)
    elif kind == 1:
        del made[first:]
    elif kind == 2:
        del made[first:last]
    elif kind == 3:
        made[first:first] = made[first:last]
    else:
        made[first:last] = rng.bytes(last - first)
    return bytes(made)


def damage_value(value, seed: int):
    """JSON values with one node replaced by a hostile one, left out or doubled."""
    rng = np.random.default_rng(seed)
    made = copy.deepcopy(value)
    at, key = {"": made}, ""
    root = at
    while isinstance(at[key], dict | list) and at[key] and rng.random() < 0.9:
        at = at[key]
        keys = list(at) if isinstance(at, dict) else range(len(at))
        key = keys[int(rng.integers(len(keys)))]
    if at is not root and seed % 8 == 0:
        del at[key]
    elif isinstance(at, list) and seed % 8 == 1:
        at.append(copy.deepcopy(at[key]))
    else:
        at[key] = HOSTILE[int(rng.integers(len(HOSTILE)))]
    return root[""]
