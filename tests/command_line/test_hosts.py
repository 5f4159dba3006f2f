"""Several tasks of a scheduler that were not told to be one run."""

import argparse

import pytest

from anchoredit_jax.command_line.hosts import add_host_arguments, host_flags
from anchoredit_jax.errors import UserError


def flags(*given):
    parser = argparse.ArgumentParser()
    add_host_arguments(parser)
    return host_flags(parser.parse_args(given))


@pytest.mark.parametrize(
    "name", ["SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"]
)
def test_tasks_without_hosts_are_refused(monkeypatch, name):
    monkeypatch.setenv(name, "4")
    with pytest.raises(UserError, match=f"started 4 .*{name}.*--hosts auto"):
        flags()
    assert flags("--hosts", "auto").several
    monkeypatch.setenv(name, "1")
    assert not flags().several


def test_a_batch_script_of_several_tasks_is_told(monkeypatch, capsys):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert not flags().several
    said = capsys.readouterr().err
    assert "SLURM_NTASKS is 4" in said and said.count("\n") == 1
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    flags()
    assert not capsys.readouterr().err
