"""Configurations of runs, a file each: `--config configs/sprites.py:stage=...`."""
