"""What every stage's step shares: state, gradients, accumulation, EMA, metrics.

A stage gives a loss function

    loss_fn(params, state, batch) -> (errors [B], weights [B], metrics)

and gets one step, which `Stage.make_train_step` compiles. The loss is sum(errors
weights) / sum(weights) over the whole batch, also when it is cut into micro-batches.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from anchoredit_jax import randomness
from anchoredit_jax.arrays import Array, Bool, Float, Int, Params
from anchoredit_jax.models.config import TransformerConfig
from anchoredit_jax.models.initialisation import (
    point_heads_at_same_place,
    start_as_copier,
)
from anchoredit_jax.models.transformer import Transformer
from anchoredit_jax.optimizer import (
    AdamConfig,
    OptimizerConfig,
    make_optimizer,
)
from anchoredit_jax.run_config import LoopConfig
from anchoredit_jax.stages.spikes import look

Batch = Mapping[str, Array]  # see `data/batches.py`
Metrics = dict[str, Any]
LossFn = Callable[..., tuple[jax.Array, jax.Array, Metrics]]
Step = Callable[..., "tuple[TrainState, Metrics]"]  # of (state, batch[, frozen])

SPIKE = "spike"  # key of a step's metrics: 1 where the gradient's norm is one
FINITE = "finite"  # key of a step's metrics: which gradients are, by network


@struct.dataclass
class TrainState:
    """All that a stage carries from step to step; everything in it is checkpointed.

    Attributes:
      step: int32, batches consumed; the next batch is number `step`.
      params, opt_state: parameters and optimizer state of the network being trained.
      ema: moving average of params: what the next stage and editing use.
      teacher: frozen parameters (distillation), else None.
      critic, critic_opt_state: the fake score (distribution matching), else None.
      norms: the last norms of the gradients of each network, where spikes are looked
        for (`spikes.py`), else None.
    """

    step: Any
    params: Any
    opt_state: Any
    ema: Any
    teacher: Any = None
    critic: Any = None
    critic_opt_state: Any = None
    norms: Any = None


def random_params(model: TransformerConfig, key: jax.Array, text_tokens: int) -> dict:
    """Draw fresh parameters of the transformer."""
    latents = jnp.zeros((1, 2, model.patch, model.patch, model.channels))
    text = jnp.zeros((1, 1, text_tokens, model.text_dim))
    with randomness.plain_counters():
        variables = Transformer(model).init(key, latents, jnp.zeros((1, 2)), text)
    params: Any = variables["params"]
    if model.init == "same_place":
        params = point_heads_at_same_place(params, model)
        params = start_as_copier(params, jax.random.fold_in(key, 1), model)
    return params


def make_train_state(
    params: Params, optimizer: OptimizerConfig, **extra: Any
) -> TrainState:
    """A state at step 0 whose EMA equals the parameters it starts from."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=make_optimizer(optimizer).init(params),
        ema=jax.tree.map(jnp.copy, params),
        **extra,
    )


def gradients(
    loss_fn: LossFn, params: Any, state: Any, batch: Batch, accumulate: int
) -> tuple[Float[Array, ""], Metrics, Any]:
    """(loss, metrics, gradients) of a batch, in `accumulate` micro-batches."""

    def total(params: Any, part: Batch) -> tuple[jax.Array, Any]:
        errors, weights, metrics = loss_fn(params, state, part)
        return jnp.sum(errors * weights), (jnp.sum(weights), metrics)

    grad_fn = jax.value_and_grad(total, has_aux=True)
    if accumulate == 1:
        (loss, (weight, metrics)), grads = grad_fn(params, batch)
    else:
        parts = jax.tree.map(
            lambda x: x.reshape(accumulate, x.shape[0] // accumulate, *x.shape[1:]),
            batch,
        )

        def of_part(part):
            (loss, (weight, metrics)), grads = grad_fn(params, part)
            known = jax.tree.map(lambda x: jnp.float32(~jnp.isnan(x)), metrics)
            metrics = jax.tree.map(jnp.nan_to_num, metrics)
            return ((loss, (weight, (metrics, known))), grads)

        def add(carry, part):
            return jax.tree.map(jnp.add, carry, of_part(part)), None

        first = jax.tree.map(lambda x: x[0], parts)
        shapes = jax.eval_shape(of_part, first)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        ((loss, (weight, told)), grads), _ = jax.lax.scan(add, zeros, parts)
        metrics = jax.tree.map(jnp.divide, *told)  # NaN where no part knows it
    weight = jnp.maximum(weight, 1e-6)
    grads = jax.tree.map(lambda g: g / weight, grads)
    return loss / weight, metrics, grads


def update(
    optimizer: AdamConfig,
    loss: Float[Array, ""],
    grads: Any,
    opt_state: Any,
    params: Any,
    every: int = 1,
    left_out: Bool[Array, ""] | bool = False,
) -> tuple[Any, Any, Metrics, Bool[Array, " leaves"]]:
    """Make one update, which is not applied unless loss and gradients are finite.

    Args:
      every: loop steps from one update to the next, for the schedule.
      left_out: it is not applied in any case.

    Returns:
      (params, opt_state, metrics, bool [leaves]: which gradients are finite; none is
      where the loss is not).
    """
    with jax.numpy_dtype_promotion("standard"):  # Optax multiplies floats by counts
        adam = make_optimizer(optimizer, every)
        updates, moved = adam.update(grads, opt_state, params)
    metrics = {
        "grad_norm": optax.tree.norm(grads),
        "update_norm": optax.tree.norm(updates),
    }
    # A norm is finite if its gradient is; the clipping needs them all anyway.
    norms = jnp.stack([optax.tree.norm(leaf) for leaf in jax.tree.leaves(grads)])
    finite = jnp.isfinite(norms) & jnp.isfinite(loss)
    applied = finite.all()
    if left_out is not False:
        applied &= ~left_out
    params, opt_state = jax.tree.map(
        lambda new, old: jnp.where(applied, new, old),
        (optax.apply_updates(params, updates), moved),
        (params, opt_state),
    )
    return params, opt_state, metrics, finite


def update_ema(
    ema: Any, params: Any, updates: Int[Array, ""], optimizer: OptimizerConfig
) -> Any:
    """decay * ema + (1 - decay) * params; `updates` were made before this one."""
    decay = jnp.float32(optimizer.ema)
    if optimizer.ema_warmup:
        updates = updates.astype(jnp.float32)
        decay = jnp.minimum(decay, (1.0 + updates) / (10.0 + updates))
    return jax.tree.map(lambda e, p: decay * e + (1.0 - decay) * p, ema, params)


def judged(
    state: TrainState, network: str, grads: Any, loop: LoopConfig
) -> tuple[TrainState, Metrics, Bool[Array, ""] | bool]:
    """Look whether a network's gradient is a spike.

    Returns:
      (the state with its norm, {"spike": 1 or 0}, whether its update is to be left
      out); where spikes are not looked for, nothing of it.
    """
    if state.norms is None:
        return state, {}, False
    norms, spike = look(state.norms[network], grads, loop)
    state = dataclasses.replace(state, norms={**state.norms, network: norms})
    left_out = spike if loop.skip_spikes else False
    return state, {SPIKE: spike.astype(jnp.float32)}, left_out


def simple_step(
    loss_fn: LossFn,
    optimizer: OptimizerConfig,
    loop: LoopConfig = LoopConfig(),  # noqa: B008  (frozen)
) -> Step:
    """The step of a stage that trains one network, to be compiled.

    Args:
      loop: what is a spike, and whether to leave it out.
      loss_fn: (params, state, batch) -> (errors, weights, metrics); with a `frozen=`
        beside them where the step is given frozen parameters.
    """

    def step(
        state: TrainState, batch: Batch, *frozen: Any
    ) -> tuple[TrainState, Metrics]:
        loss_of = functools.partial(loss_fn, frozen=frozen[0]) if frozen else loss_fn
        loss, metrics, grads = gradients(
            loss_of, state.params, state, batch, optimizer.accumulate
        )
        state, spike, left_out = judged(state, "params", grads, loop)
        params, opt_state, norms, finite = update(
            optimizer, loss, grads, state.opt_state, state.params, left_out=left_out
        )
        metrics |= spike
        state = dataclasses.replace(
            state,
            step=state.step + 1,
            params=params,
            opt_state=opt_state,
            ema=update_ema(state.ema, params, state.step, optimizer),
        )
        return state, {"loss": loss, **metrics, **norms, FINITE: {"params": finite}}

    return step
