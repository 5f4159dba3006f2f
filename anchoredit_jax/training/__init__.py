"""Running a stage: the loop, what it starts from, writes, and stops for."""
