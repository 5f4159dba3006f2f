"""One training step of our transformer, and of a peer's with the same geometry."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anchoredit_jax.convert.networks import NETWORKS
from anchoredit_jax.convert.source import source_of_params, source_of_tensors
from anchoredit_jax.errors import UserError
from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models import Transformer, TransformerConfig
from anchoredit_jax.models.flops import forward_flops
from benchmarks.timing import Timing, interleave

TRANSFORMER = NETWORKS["transformer"]
PEERS = ("diffusers",)
MODEL = TransformerConfig(
    dim=256, ffn_dim=1024, num_heads=4, num_layers=6, text_dim=128, freq_dim=128,
    temporal_stride=1,
)  # fmt: skip
PRODUCTS = 20  # timed together
FRAMES, SIDE, TEXT = 4, 32, 32  # 4 frames of 16 x 16 tokens, one prompt
Arrays = dict[str, np.ndarray]  # by name


def benchmark_step(
    peer: str | None = None,
    repetitions: int = 8,
    model: TransformerConfig = MODEL,
    side: int = SIDE,
) -> tuple[dict[str, Timing], float | None]:
    """Forward and backward of all parameters, float32, bidirectional.

    Args:
      peer: "diffusers": its `WanTransformer3DModel` in torch, on the same weights.
      repetitions: timed steps of each.
      model: geometry of both; its temporal stride is 1, as there.
      side: of the latents.

    Returns:
      times of "ours" and of the peer under its name, and the largest difference of the
      two gradients' norms a parameter, relative (None without a peer): both do the
      same work.

    Raises:
      UserError: an unknown peer, or one that is not installed.
    """
    if peer is not None and peer not in PEERS:
        raise UserError(f"unknown peer {peer!r}; known: {', '.join(PEERS)}")
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(1, FRAMES, side, side, model.channels))
    text = rng.normal(size=(1, TEXT, model.text_dim)).astype(np.float32)
    weights = rng.normal(size=latents.shape).astype(np.float32)
    inputs = dict(
        latents=latents.astype(np.float32),
        timesteps=np.float32([[0.0, 250.0, 500.0, 999.0]]),
        text=text,
        weights=weights,
    )
    tensors = {
        name: (0.02 * rng.normal(size=shape)).astype(np.float32)
        for name, shape in TRANSFORMER.shapes("diffusers", model).items()
    }
    ours = _ours(tensors, inputs, model)
    if peer is None:
        return interleave({"ours": ours}, repetitions), None
    theirs = _diffusers(tensors, inputs, model)
    gradients = source_of_params(ours(), "transformer", model).published("diffusers")
    difference = _difference(dict(gradients), theirs())
    return interleave({"ours": ours, peer: theirs}, repetitions), difference


def benchmark_products(peer: str | None = None) -> tuple[int, dict[str, float]]:
    """What bounds a step: its matrix products, and how fast they are made.

    Returns:
      operations of one step's products, and operations a second of "ours" and of the
      peer in the MLP's products (forward and both gradients), the step's largest.
    """
    rng = np.random.default_rng(0)
    rows, dim, ffn_dim = FRAMES * (SIDE // MODEL.patch) ** 2, MODEL.dim, MODEL.ffn_dim
    x, w, y = (
        rng.normal(size=shape).astype(np.float32)
        for shape in ((rows, dim), (dim, ffn_dim), (rows, ffn_dim))
    )
    device = jax.device_put((x, w, y))
    ours = jax.jit(_mlp_products)
    functions = {"ours": lambda: [ours(*device) for _ in range(PRODUCTS)]}
    if peer is not None:
        torch = _peer_modules()[0]
        tensors = [torch.from_numpy(a) for a in (x, w, y)]
        functions[peer] = lambda: [_mlp_products(*tensors) for _ in range(PRODUCTS)]
    times = interleave(functions, 10)
    operations = PRODUCTS * 3 * 2 * rows * dim * ffn_dim
    forward = forward_flops(
        MODEL,
        frames=FRAMES,
        tokens=(SIDE // MODEL.patch) ** 2,
        prompts=FRAMES - 1,
        text_tokens=TEXT,
        visibility=FrameVisibility("bidirectional"),
    )
    rates = {name: operations / timing.median for name, timing in times.items()}
    return 3 * sum(forward.values()), rates


def _mlp_products(x: Any, w: Any, y: Any) -> tuple[Any, Any, Any]:
    """Forward and both gradients, of arrays or of torch's tensors."""
    return x @ w, y @ w.T, x.T @ y


def _ours(tensors: Arrays, inputs: Arrays, model: TransformerConfig) -> Callable:
    """Makes our gradients, as a tree of parameters."""
    params = source_of_tensors(tensors, "transformer", model).tree()
    text = np.repeat(inputs["text"][:, None], FRAMES - 1, 1)

    @jax.jit
    def gradient(params, latents, timesteps, text, weights):
        def loss(params):
            out = Transformer(model).apply(
                {"params": params}, latents, timesteps, text,
                visibility=FrameVisibility("bidirectional"),
            )  # fmt: skip
            return jnp.sum(out * weights)

        return jax.grad(loss)(params)

    params, *arguments = jax.device_put(
        (params, inputs["latents"], inputs["timesteps"], text, inputs["weights"])
    )
    return lambda: gradient(params, *arguments)


def _diffusers(
    tensors: Arrays, inputs: Arrays, model: TransformerConfig
) -> Callable[[], Arrays]:
    """Makes the peer's gradients, by the names of its parameters."""
    torch, network_class = _peer_modules()
    network = network_class(
        patch_size=(1, model.patch, model.patch),
        num_attention_heads=model.num_heads,
        attention_head_dim=model.head_dim,
        in_channels=model.channels,
        out_channels=model.channels,
        text_dim=model.text_dim,
        freq_dim=model.freq_dim,
        ffn_dim=model.ffn_dim,
        num_layers=model.num_layers,
        eps=model.eps,
    )
    network.load_state_dict({k: torch.from_numpy(v) for k, v in tensors.items()})
    channels_first = (0, 4, 1, 2, 3)
    latents = torch.from_numpy(inputs["latents"].transpose(channels_first).copy())
    weights = torch.from_numpy(inputs["weights"].transpose(channels_first).copy())
    tokens = (latents.shape[-1] // model.patch) ** 2
    timesteps = torch.from_numpy(np.repeat(inputs["timesteps"], tokens, 1))
    text = torch.from_numpy(inputs["text"])

    def gradient():
        network.zero_grad(set_to_none=True)
        (out,) = network(latents, timesteps, text, return_dict=False)
        (out * weights).sum().backward()
        return {name: p.grad.numpy() for name, p in network.named_parameters()}

    return gradient


def _peer_modules() -> tuple[Any, Any]:
    """torch, and the network's class in diffusers."""
    try:
        import torch
        from diffusers import WanTransformer3DModel
    except ImportError as error:
        raise UserError(
            f"the peer diffusers is not installed ({error}): pip install "
            "'anchoredit_jax[torch]'"
        ) from error
    return torch, WanTransformer3DModel


def _difference(ours: Arrays, theirs: Arrays) -> float:
    """The largest distance of two gradients of a parameter, by the norm of theirs."""
    norms = {name: float(np.linalg.norm(value)) for name, value in theirs.items()}
    return max(
        float(np.linalg.norm(ours[name] - theirs[name])) / max(norm, 1e-6)
        for name, norm in norms.items()
    )
