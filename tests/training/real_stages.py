"""Every real stage at its smallest: one spelling, so that files share programs."""

SCHEDULE = 6  # steps of the learning rate's schedule, which is part of a program


def real_spec(stage: str, steps: int = SCHEDULE) -> str:
    """Sprites of two turns in a network of one layer, `steps` steps of the schedule."""
    return (
        f"configs/sprites.py:stage={stage},steps={SCHEDULE},loop.steps={steps},"
        "data.batch=2,data.turns=2,data.size=16,model.dim=24,model.ffn_dim=24,"
        "model.num_heads=2,model.num_layers=1,model.scan_unroll=1,model.freq_dim=8"
        ",eval.every=0,eval.edits_every=0"
        + (",sampler.steps=1" if stage == "distribution_matching" else "")
    )
