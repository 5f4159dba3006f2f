"""Prepares sessions in two processes that never end; for tests that kill this one."""

import sys
import time

from anchoredit_jax.data.prepared import prepare


def never_done(*_):
    time.sleep(10_000)


if __name__ == "__main__":
    module = sys.modules["anchoredit_jax.data.prepared.prepare"]
    module.prepare_part = never_done
    prepare(sys.argv[1], sys.argv[2], processes=2)
