"""AnchorEdit in JAX: multi-turn image editing with a memory that anchors identity.

from anchoredit_jax import load_editor

session = load_editor().start("photo.png")
image = session.edit("make the background blue")

What is where, from what knows nothing of the rest upwards:

  randomness.py, errors.py, strict.py, files.py
                    keys, errors for users, settings that are read, files written whole
  memory/           the causal memory, frame visibility
  diffusion/        schedule, samplers, losses; no network
  models/           transformer, attention, VAE, UMT5, presets
  parallel/         mesh, hosts, rules, chips, XLA flags
  checkpoint/       Orbax, lineage, weight files
  data/             images, sessions, buckets, plan, sprites
  turn.py           network, memory and sampler: one turn
  config.py         a run's configuration
  stages/           one file a stage; step, loop, rollout
  session/          edit, undo, branch, save, page
  convert/          published weights in and out
  evaluation/       rollouts, measures, judge, reports, benchmarks
  reproducibility/  certificates and what compares them
  planning/         programs compiled for pods, counted
  benchmark/        speed as ratios
"""

__version__ = "0.1.0"

__all__ = ["EditSession", "Editor", "edit_together", "load_editor"]


def __getattr__(name: str):
    """Load the editing API on first use: importing the package costs nothing."""
    if name in __all__:
        from anchoredit_jax import session

        return getattr(session, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
