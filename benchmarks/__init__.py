"""Speed, as ratios of two things measured in one run on one machine.

Run from a clone by `launch/benchmark.py`; no part of the installed package.
"""
