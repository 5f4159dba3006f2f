"""The recorded losses and gradients of all stages, draw by draw."""

import functools
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax import turn
from anchoredit_jax.diffusion import samplers, schedule
from anchoredit_jax.diffusion.losses import distribution_matching
from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models import Transformer
from anchoredit_jax.stages import causal_forcing, consistency, distill, scores, sequence
from anchoredit_jax.stages import distribution_matching as dmd
from anchoredit_jax.stages.context import swap_in
from anchoredit_jax.stages.rollout import generate_history
from anchoredit_jax.testing import tiny_run
from tests.convert.published import from_published, to_published

from .conftest import channels_last, golden_config, padded_prompts

S12 = (
    "s12_bidir_alpha0", "s12_causal_alpha0", "s12_causal_alpha0_sf",
    "s12_causal_alpha1", "s12_causal_alpha1_sf", "s12_causal_alpha1_sf_degraded",
)  # fmt: skip
CD = ("cd_k1_idx0", "cd_k2_idx20", "cd_k3_idx46")
DMD = ("dmd_k1_s0", "dmd_k2_s2", "dmd_k3_s3_shift5")
CRITIC = ("critic_k1_s0", "critic_k2_s2", "critic_k3_s3_shift5")
LOSS_RTOL = 1e-5


@pytest.fixture(scope="module")
def recorded(golden):
    return golden("losses")


@pytest.fixture(scope="module")
def networks(golden):
    """Student, EMA, teacher and fake score."""
    base, _ = golden("dit_weights")
    deltas, _ = golden("dit_weight_deltas")
    weights = {key.removeprefix("w/"): value for key, value in base.items()}

    def moved(teacher, fake):
        return from_published(
            "transformer",
            {
                key: value
                + np.float32(teacher) * deltas[f"teacher/{key}"]
                + np.float32(fake) * deltas[f"fake/{key}"]
                for key, value in weights.items()
            },
            golden_config(),
        )

    return types.SimpleNamespace(
        student=moved(0, 0), ema=moved(0.4, 0.1), teacher=moved(1, 0), fake=moved(0, 1)
    )


def check_gradients(arrays, meta, name, grads, kind="grad", rtol=1e-3):
    """Every parameter's norm, the global norm, and the recorded whole tensors."""
    named = to_published("transformer", grads, "wan", golden_config())
    norms = np.array([np.linalg.norm(named[key]) for key in meta["param_names"]])
    expected = arrays[f"{name}/{kind}_norm_per_param"]
    np.testing.assert_allclose(norms, expected, rtol=rtol, atol=1e-4 * expected.max())
    total = np.sqrt(np.sum(np.square(norms)))
    recorded_total = float(arrays[f"{name}/{kind}_norm"])
    print(f"{name}: gradient norm {total:.7f}, recorded {recorded_total:.7f}")
    np.testing.assert_allclose(total, recorded_total, rtol=rtol)
    prefix = f"{name}/{kind}/"
    for key in arrays:
        if key.startswith(prefix):
            want = arrays[key]
            atol = rtol / 10 * np.abs(want).max()
            np.testing.assert_allclose(
                named[key.removeprefix(prefix)], want, rtol=rtol, atol=atol
            )


def report(name, got, want):
    print(f"{name}: loss {float(got):.7f}, recorded {float(want):.7f}")


@pytest.mark.parametrize("name", S12)
def test_sequence_losses(recorded, networks, name):
    arrays, meta = recorded
    case = meta["cases"][name]
    model = golden_config(temporal_stride=case["temporal_rope_stride"])
    mode = "bidirectional" if case["bidirectional_self_attn"] else "causal"
    latents = channels_last(arrays["s12/latents"])
    noise = channels_last(arrays["s12/noise"])
    timesteps = arrays["s12/timesteps"].astype(np.float32)
    velocity = functools.partial(
        Transformer(model).apply,
        text=padded_prompts(arrays["s12/prompt_tokens"]),
        visibility=FrameVisibility(mode),
    )
    context, replaced = latents, np.zeros(timesteps.shape, bool)
    if case["self_forcing_prob"]:
        if f"{name}/rollout_pred_x0" in arrays:
            predicted = causal_forcing.one_pass_x0(
                functools.partial(velocity, {"params": networks.student}),
                latents, timesteps, noise,
            )  # fmt: skip
            want = channels_last(arrays[f"{name}/rollout_pred_x0"])
            np.testing.assert_allclose(predicted, want, atol=3e-5)
            draws = np.pad(
                arrays[f"{name}/rand_replace"], ((0, 0), (1, 1)), constant_values=1
            )
            wanted = draws < case["self_forcing_prob"]
            context, replaced = swap_in(latents, predicted, wanted)
            want = channels_last(arrays[f"{name}/sf_latents"])
            np.testing.assert_allclose(context, want, atol=3e-5)
        else:
            replaced = arrays[f"{name}/replace_mask"].astype(bool)
    np.testing.assert_array_equal(replaced, arrays[f"{name}/replace_mask"])
    if f"{name}/degraded_latents" in arrays:
        context = channels_last(arrays[f"{name}/degraded_latents"])
    config = sequence.SequenceLossConfig(turn_alpha=case["turn_weight_alpha"])

    def loss(params):
        errors, kept, _, flow = sequence.sequence_loss(
            functools.partial(velocity, {"params": params}),
            latents, context, timesteps, noise, jnp.float32(~np.asarray(replaced)),
            config, patch=2,
        )  # fmt: skip
        return jnp.sum(errors * kept) / jnp.sum(kept), flow

    (value, flow), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(
        networks.student
    )
    report(name, value, arrays[f"{name}/loss"])
    np.testing.assert_allclose(value, arrays[f"{name}/loss"], rtol=LOSS_RTOL)
    if f"{name}/flow_pred" in arrays:
        want = channels_last(arrays[f"{name}/flow_pred"])
        np.testing.assert_allclose(flow, want, atol=3e-5)
    check_gradients(arrays, meta, name, grads)


def distill_batch(arrays):
    text = padded_prompts(arrays["distill/prompt_tokens"])
    null = padded_prompts(arrays["distill/neg_tokens"])
    return {
        "latents": channels_last(arrays["distill/latents"]),
        "text": text,
        "null_text": np.broadcast_to(null, (2, *null.shape)),
        "frame_valid": np.ones(arrays["distill/latents"].shape[:2], np.float32),
    }


def make_run(options, source_prompt, stride=4, sampler=None):
    model = golden_config(temporal_stride=stride, source_prompt=source_prompt)
    run = tiny_run("consistency").replace(model=model, options=options)
    return run if sampler is None else run.replace(sampler=sampler)


@pytest.mark.parametrize("name", CD)
def test_consistency(recorded, networks, name):
    arrays, meta = recorded
    case, batch = meta["cases"][name], distill_batch(arrays)
    options = consistency.Options(
        grid_steps=case["discrete_cd_N"],
        shift=case["cd_scheduler_shift"],
        guidance=case["teacher_guidance_scale"],
        snap_shift=case["timestep_shift"],
    )
    run = make_run(options, "first_prompt")
    history = distill.History(
        jnp.full(2, case["target_turn_k"]),
        FrameVisibility("causal"),
        jnp.arange(4.0)[None],
    )
    point = jnp.full(2, case["ts_idx"])
    noise = channels_last(arrays[f"{name}/noise"][:, 0])

    def loss(params):
        pair = consistency.consistency_pair(
            run, params, networks.ema, networks.teacher, batch, history, point, noise
        )
        return jnp.mean(jnp.square(pair[0] - pair[1])), pair

    (value, (predicted, goal)), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(
        networks.student
    )
    report(name, value, arrays[f"{name}/loss"])
    # t_next 865.38 of cd_k2_idx20 lies midway between two points of the 1000-point
    # grid: the neighbouring sigma moves x_0 by about 4e-4.
    tied = name == "cd_k2_idx20"
    for got, key in ((predicted, "cm_pred_t"), (goal, "cm_pred_t_next")):
        want = channels_last(arrays[f"{name}/{key}"][:, 0])
        np.testing.assert_allclose(got, want, atol=1e-3 if tied else 2e-4)
    rtol = 1e-3 if tied else LOSS_RTOL
    np.testing.assert_allclose(value, arrays[f"{name}/loss"], rtol=rtol)
    check_gradients(arrays, meta, name, grads, rtol=1e-2 if tied else 1e-3)


@pytest.mark.parametrize("name", CD)
def test_the_teachers_step(recorded, networks, name):
    """From the recorded point to the next, by both of the teacher's predictions."""
    arrays, meta = recorded
    case, batch = meta["cases"][name], distill_batch(arrays)
    grid = np.append(
        schedule.make_sigmas(case["discrete_cd_N"], case["cd_scheduler_shift"]), 0
    ).astype(np.float32)
    point, target = case["ts_idx"], case["target_turn_k"]
    for key, sigma in (("t", grid[point]), ("t_next", grid[point + 1])):
        np.testing.assert_allclose(arrays[f"{name}/{key}"], 1000 * sigma, rtol=1e-6)

    def of_target(key):
        return channels_last(arrays[f"{name}/{key}"][:, 0])

    sigma, following = (np.full(2, grid[i]) for i in (point, point + 1))
    noised = schedule.add_noise(batch["latents"][:, target], of_target("noise"), sigma)
    np.testing.assert_allclose(noised, of_target("latent_t"), atol=1e-6)
    run = make_run(consistency.Options(), "first_prompt")
    history = distill.History(
        jnp.full(2, target), FrameVisibility("causal"), jnp.arange(4.0)[None]
    )

    def velocity(params, prompt):
        view = distill.history_view(
            run, params, batch["latents"], batch["text"], history
        )
        beside = turn.beside_memory(run.model, params, view, prompt)
        return beside(noised, 1000 * sigma)

    prompt = batch["text"][:, target - 1]
    conditional = velocity(networks.teacher, prompt)
    unconditional = velocity(networks.teacher, batch["null_text"])
    for key, got in (
        ("v_cond", conditional),
        ("v_uncond", unconditional),
        ("flow_t", velocity(networks.student, prompt)),
    ):
        np.testing.assert_allclose(got, of_target(key), atol=3e-5)
    guided = samplers.guide(conditional, unconditional, case["teacher_guidance_scale"])
    stepped = schedule.euler_step(noised, guided, sigma, following)
    np.testing.assert_allclose(stepped, of_target("latent_t_next"), atol=3e-5)


def dmd_runs(case):
    """The generator's cached pass shows frame 0 all of prompt 0, the scores' full
    pass one token of it: both of the reference's conventions."""
    options = dmd.Options(
        guidance=1.0 + case["real_guidance_scale"],  # cond + g (cond - uncond)
    )
    sampler = samplers.SamplerConfig(
        timesteps=tuple(float(t) for t in case["denoising_step_list"]),
        snap_shift=case["timestep_shift"],
    )
    return tuple(
        make_run(options, prompt, sampler=sampler)
        for prompt in ("first_prompt", "first_token")
    )


def few_step_noise(arrays, name, target, own):
    """[T, steps, B, h, w, C] with history at frames 1.. and `own` at the target."""
    history = channels_last(arrays[f"{name}/hist_noise"])
    noise = np.zeros((4, 4, *history.shape[2:]), np.float32)
    noise[1 : 1 + len(history)] = history
    if own is not None:
        noise[target, : len(own)] = own
    return jnp.asarray(noise)


def check_full_sequence(arrays, name, run, sequence, x0, target, kind):
    """The sequence that scores or critic see: all clean but frame k."""
    shift = run.sampler.snap_shift
    drawn = arrays[f"{name}/{kind}_t_drawn"] / 1000
    level = np.clip(np.floor(1000 * schedule.shift_sigma(drawn, shift)), 20, 979)
    np.testing.assert_array_equal(level, arrays[f"{name}/{kind}_t"])
    noised, timesteps = scores.renoise(
        run, sequence, x0, target, np.float32(level),
        channels_last(arrays[f"{name}/{kind}_noise"]),
    )  # fmt: skip
    want = channels_last(arrays[f"{name}/noisy_full"])
    # Frames after k, which causal scores do not see, are left empty there.
    seen = slice(0, target + 1)
    np.testing.assert_allclose(noised[:, seen], want[:, seen], atol=2e-4)
    np.testing.assert_array_equal(timesteps[:, target], level)
    if f"{name}/clean_full" in arrays:
        clean = channels_last(arrays[f"{name}/clean_full"])
        np.testing.assert_allclose(sequence[:, :target], clean[:, :target], atol=2e-4)


@pytest.mark.parametrize("name", DMD)
def test_generator(recorded, networks, name):
    arrays, meta = recorded
    case, batch = meta["cases"][name], distill_batch(arrays)
    target, step = case["target_turn_k"], case["step_idx"]
    cached, full = dmd_runs(case)
    own = channels_last(arrays[f"{name}/k_noise"])
    noise = few_step_noise(arrays, name, target, own)
    level = arrays[f"{name}/score_t"].astype(np.float32)
    score_noise = channels_last(arrays[f"{name}/score_noise"])

    def loss(params):
        x0, history = dmd.last_step_x0(
            cached, params, batch, jnp.int32(target), jnp.int32(step), noise
        )
        errors, gradient = scores.matching_loss(
            full, networks.teacher, networks.fake, batch, x0, history,
            jnp.int32(target), level, score_noise,
        )  # fmt: skip
        return jnp.mean(errors), (x0, gradient, history)

    (value, (x0, gradient, sequence)), grads = jax.jit(
        jax.value_and_grad(loss, has_aux=True)
    )(networks.student)
    want = channels_last(arrays[f"{name}/pred_x0_k"][:, 0])
    np.testing.assert_allclose(x0, want, atol=2e-4)
    # The last step alone, from its recorded input.
    at = jnp.float32(case["denoising_step_list"][step])
    sigma = schedule.sigma_at(jnp.full(2, at), case["timestep_shift"])
    noisy, flow = (
        channels_last(arrays[f"{name}/{key}"][:, 0]) for key in ("noisy_k", "flow_k")
    )
    np.testing.assert_allclose(
        schedule.velocity_to_x0(noisy, flow, sigma), want, atol=3e-5
    )
    check_full_sequence(arrays, name, full, sequence, x0, target, "score")
    want = channels_last(arrays[f"{name}/grad_k"][:, 0])
    np.testing.assert_allclose(gradient, want, atol=1e-3)
    report(name, value, arrays[f"{name}/loss"])
    np.testing.assert_allclose(value, arrays[f"{name}/loss"], rtol=1e-4)
    check_gradients(arrays, meta, name, grads, "gen_grad")


@pytest.mark.parametrize("name", CRITIC)
def test_critic(recorded, networks, name):
    arrays, meta = recorded
    case, batch = meta["cases"][name], distill_batch(arrays)
    target = case["target_turn_k"]
    cached, full = dmd_runs(case)
    sampler = dmd.generator_sampler(cached)
    noise = few_step_noise(arrays, name, target, None)
    generated, _ = jax.jit(
        lambda: generate_history(
            cached, networks.student, batch, sampler, jnp.int32(target), noise
        )
    )()
    level = arrays[f"{name}/critic_t"].astype(np.float32)
    critic_noise = channels_last(arrays[f"{name}/critic_noise"])

    def loss(params):
        return jnp.mean(
            scores.denoising_loss(
                full, params, batch, generated, jnp.int32(target), level, critic_noise
            )
        )

    value, grads = jax.jit(jax.value_and_grad(loss))(networks.fake)
    report(name, value, arrays[f"{name}/loss"])
    np.testing.assert_allclose(value, arrays[f"{name}/loss"], rtol=1e-4)
    check_gradients(arrays, meta, name, grads, "fake_grad")
    x0 = generated[:, target]
    check_full_sequence(arrays, name, full, generated, x0, target, "critic")
    noised, timesteps = scores.renoise(full, generated, x0, target, level, critic_noise)
    predicted = distill.sequence_x0(
        full, networks.fake, noised, timesteps, batch, target
    )
    want = channels_last(arrays[f"{name}/x0_pred_k"])
    np.testing.assert_allclose(predicted, want, atol=2e-4)
    sigma = schedule.sigma_at(level, full.sampler.snap_shift)
    flow = schedule.x0_to_velocity(noised[:, target], predicted, sigma)
    want = channels_last(arrays[f"{name}/flow_pred_k"])
    np.testing.assert_allclose(flow, want, atol=2e-3)


def test_no_case_is_left_out(recorded):
    arrays, meta = recorded
    assert set(meta["cases"]) == set(S12 + CD + DMD + CRITIC)
    # Whole gradients: of six parameters for each loss, of three in every case.
    for names in (S12, CD, DMD, CRITIC):
        whole = [
            [key for key in arrays if re.match(rf"{name}/(\w+_)?grad/", key)]
            for name in names
        ]
        assert min(map(len, whole)) >= 3 and max(map(len, whole)) == 6


def test_recorded_gradient_is_the_functions_own(recorded):
    """The normalised gradient from the recorded scores, without any network."""
    arrays, meta = recorded
    for name in DMD:
        guidance = meta["cases"][name]["real_guidance_scale"]
        real = arrays[f"{name}/x0_real_cond_k"] + guidance * (
            arrays[f"{name}/x0_real_cond_k"] - arrays[f"{name}/x0_real_uncond_k"]
        )
        loss, gradient = distribution_matching(
            jnp.asarray(arrays[f"{name}/pred_x0_k"]),
            jnp.asarray(real),
            jnp.asarray(arrays[f"{name}/x0_fake_cond_k"]),
        )
        np.testing.assert_allclose(gradient, arrays[f"{name}/grad_k"], atol=1e-5)
        np.testing.assert_allclose(
            jnp.mean(loss), arrays[f"{name}/loss"], rtol=LOSS_RTOL
        )
