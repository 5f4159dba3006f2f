"""Sleeps until its input ends; for test_orphans.py."""

import time

from anchoredit_jax.orphans import end_with_input

if __name__ == "__main__":
    end_with_input()
    time.sleep(10_000)
