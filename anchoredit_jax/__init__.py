"""AnchorEdit in JAX: multi-turn image editing with a memory that anchors identity.

from anchoredit_jax import load_editor

session = load_editor().start("photo.png")
image = session.edit("make the background blue")

In all docstrings, the reference is the original implementation in PyTorch, from which
numbers were recorded that tests compare with; docs/differences.md has what differs.

What is where, from what knows nothing of the rest upwards; docs/architecture.md says
more:

  errors.py, strict.py, trees.py, files.py
                    errors for users, settings that are read, names, whole files
  randomness.py     keys
  parallel/         mesh, hosts, rules, chips, XLA flags
  memory/           the causal memory, frame visibility
  diffusion/        schedule, samplers, losses; no network
  models/           transformer, attention, VAE, UMT5, presets
  turn.py           network, memory and sampler: one turn
  data/             images, sessions, buckets, plan, sprites
  optimizer.py, run_config.py      a run's configuration, as dataclasses
  stages/           losses and updates, one file a stage; no files are read
  config.py         reading a configuration
  checkpoint/       Orbax, lineage, weight files
  convert/          published weights in and out
  encoders.py       the codec and text encoder that a configuration names
  training/         the loop around a stage, and all that it reads and writes
  session/          edit, undo, branch, save, page
  evaluation/       parts, measures, judge, report
  reproducibility/  certificates and what compares them
  planning/         programs compiled for pods, counted
"""

import importlib
from typing import TYPE_CHECKING

from anchoredit_jax.version import __version__

if TYPE_CHECKING:
    from anchoredit_jax.config import load_config
    from anchoredit_jax.evaluation import evaluate
    from anchoredit_jax.session import Editor, EditSession, edit_together, load_editor
    from anchoredit_jax.training.loop import run_stage
else:  # or a type checker would take every misspelt name

    def __getattr__(name: str) -> object:
        """Load what is asked for on first use: importing the package costs nothing."""
        if name in _HOMES:
            return getattr(importlib.import_module(_HOMES[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "EditSession",
    "Editor",
    "__version__",
    "edit_together",
    "evaluate",
    "load_config",
    "load_editor",
    "run_stage",
]
_HOMES = {
    "EditSession": "anchoredit_jax.session",
    "Editor": "anchoredit_jax.session",
    "edit_together": "anchoredit_jax.session",
    "evaluate": "anchoredit_jax.evaluation",
    "load_config": "anchoredit_jax.config",
    "load_editor": "anchoredit_jax.session",
    "run_stage": "anchoredit_jax.training.loop",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
