"""Sizes and numerics of the transformer; the presets differ in nothing else."""

import dataclasses

from anchoredit_jax.choices import ATTENTION
from anchoredit_jax.strict import Bounded, FieldError, geometry, result, way
from anchoredit_jax.trees import DTYPES

CHOICES = {
    "source_prompt": ("first_token", "first_prompt"),
    "text_visibility": ("current", "so_far"),
    "attention": ATTENTION,
    "remat": ("none", "block", "attention", "offload"),
    "init": ("wan", "same_place"),
    "prediction": ("velocity", "x0"),
}


@dataclasses.dataclass(frozen=True)
class TransformerConfig(Bounded, place="model"):
    """The Wan 2.1 text-to-video geometry (docs/method.md, Network).

    Attributes:
      dim: width D.
      ffn_dim: hidden width of the MLP.
      num_heads: N; the head dim H is dim / num_heads.
      num_layers: transformer blocks.
      channels: latent channels C, in and out.
      text_dim: width of the text encoder's output.
      freq_dim: width of the sinusoidal time embedding.
      patch: side of the square patch of latents that makes a token.
      temporal_stride: RoPE distance between consecutive frames.
      spatial_stride: RoPE distance between neighbouring tokens of a frame. The fastest
        pair turns once in 2 pi of it: where an image is hardly more than six tokens
        wide, 1 (Wan) makes opposite edges look like the same place.
      source_prompt: what frame 0 sees of the first prompt, see docs/method.md,
        Instructions.
      text_visibility: prompts a frame sees, its own ("current") or all up to it.
      eps: of every norm.
      dtype: compute dtype of matrix products; norms, softmax, RoPE, modulation and
        losses are always float32, parameters too.
      attention: backend name, see `models/attention.py`; "auto" takes the one of the
        device at hand (`models/kernels.py`).
      remat: what the forward pass keeps for the backward pass, see `models/remat.py`.
      scan_unroll: layers per iteration of the layer scan (a speed knob).
      init: "wan", or "same_place": half of the self-attention heads start out looking
        at the same place in earlier frames, and the untrained network shows the frame
        before (see `models/initialisation.py`).
      prediction: what the head's output means. Wan's is the velocity, so it has to hand
        the noise through all layers; where the width hardly exceeds a token, some of it
        stays in the image as grain, and "x0" (the clean latents, from which the
        velocity follows) is sharper.
    """

    dim: int = geometry(within="[2, 65536]")
    ffn_dim: int = geometry(within="[1, 1e8]")
    num_heads: int = geometry(within="[1, 1024]")
    num_layers: int = geometry(within="[1, 1024]")
    channels: int = geometry(16, within="[1, 65536]")
    text_dim: int = geometry(4096, within="[1, 65536]")
    freq_dim: int = geometry(256, within="[2, 65536]")
    patch: int = geometry(2, within="[1, 64]")
    temporal_stride: int = geometry(4, published=False, within="[0, 1e6]")
    spatial_stride: float = geometry(1.0, published=False, within="(0, 1e6]")
    source_prompt: str = geometry(
        "first_prompt", within=CHOICES["source_prompt"], published=False
    )
    text_visibility: str = geometry(
        "current", within=CHOICES["text_visibility"], published=False
    )
    eps: float = geometry(1e-6, within="(0, 1]")
    dtype: str = result("float32", within=DTYPES)
    attention: str = way("auto", within=CHOICES["attention"])
    remat: str = way("none", within=CHOICES["remat"])
    scan_unroll: int = way(1, within="[1, 1024]")
    init: str = result("wan", within=CHOICES["init"])
    prediction: str = geometry(
        "velocity", within=CHOICES["prediction"], published=False
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dim % self.num_heads or (self.dim // self.num_heads) % 2:
            raise FieldError(
                self,
                "dim",
                f"must split into {self.num_heads} heads of even size, given "
                f"{self.dim}",
            )

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads
