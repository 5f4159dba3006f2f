"""Lines of a plan that no compiler made."""

from anchoredit_jax.planning import PlanRow


def make_row(**changes) -> PlanRow:
    values = dict(
        size="14b",
        program="causal_forcing",
        topology="v5p:4x4x4",
        chips=64,
        mesh=dict(fsdp=16, context=4),
        batch=16,
        frames=6,
        tokens=4096,
        sides=(1024, 1024),
        bucket="square",
        remat="block",
        memory=dict(parameters=1.0, optimizer=2.0, temporaries=10.0, program=0.5),
        peak=13.5,
        hbm=95.74,
        missing=0.0,
        model_flops=6e16,
        mean_flops=5e16,
        repeated_flops=2e16,
        compiled_flops=8.4e16,
        attention_share=0.58,
        compiled_attention_share=0.58,
        hbm_bytes=2e12,
        host_bytes=0.0,
        collective_bytes={"all-gather": 3e11, "all-to-all": 1e11},
        hidden_bytes=1e11,
        seconds=dict(compute=2.9, memory=0.7, links=0.5, slices=0.0),
        compile_seconds=100.0,
    )
    return PlanRow(**{**values, **changes})
