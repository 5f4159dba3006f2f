"""launch/curriculum.py with the fake stages as all there are; by test_hosts.py."""

import sys

from anchoredit_jax.stages.table import STAGES
from launch import curriculum
from tests.training.fake_stages import add_fake_stages

STAGES.clear()
add_fake_stages(STAGES)
curriculum.main(sys.argv[1:])
