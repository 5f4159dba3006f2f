"""Files that hold weights in forms that are not read: what they are, and what to do."""

from collections.abc import Collection
from pathlib import Path

from anchoredit_jax.errors import UserError

# Parts of names of tensors: the first kind that has one.
KINDS = (
    (
        ("lora_A.", "lora_B.", "lora_down.", "lora_up.", "lora_unet_", ".lora."),
        "a LoRA, which changes another model's weights",
        "merge it into its base model (peft: merge_and_unload) and import the result",
    ),
    (
        (
            "scaled_fp8",
            ".scale_weight",
            ".scale_input",
            ".weight_scale",
            ".input_scale",
        ),
        "scaled to 8 bits (fp8 or int8)",
        "download the bfloat16 or float16 files",
    ),
    (
        (".qweight", ".qzeros", ".absmax", ".quant_state", ".quant_map", "comfy_quant"),
        "quantised",
        "download the bfloat16 or float16 files",
    ),
    (
        (".hada_w1_a", ".lokr_w1", ".oft_blocks"),
        "an adapter, which changes another model's weights",
        "merge it into its base model and import the result",
    ),
)
QUANTISED = ("I8", "U8", "F8_E4M3", "F8_E5M2", "F4", "int8", "uint8", "float8_e4m3fn",
             "float8_e5m2", "qint8", "quint8")  # fmt: skip


def refuse_other_tensors(names: Collection[str]) -> None:
    """UserError about tensors that are no model's own weights."""
    for marks, what, advice in KINDS:
        for name in sorted(names):
            if any(mark in name for mark in marks):
                raise UserError(f"the file is {what} ({name!r} shows it): {advice}")


def refuse_dtype(name: str, dtype: str, known: Collection[str]) -> None:
    """UserError about a tensor of a dtype that is not read."""
    advice = f"known: {', '.join(known)}"
    if dtype in QUANTISED:
        advice = "the weights are quantised: download the bfloat16 or float16 files"
    raise UserError(f"tensor {name!r} has dtype {dtype}; {advice}")


def refuse_other_folder(folder: Path) -> None:
    """UserError about a folder of another way to save a model on several devices."""
    if any(folder.glob("*.distcp")):
        raise UserError(
            f"{str(folder)!r} is a distributed checkpoint of PyTorch: make one file of "
            "it with `python -m torch.distributed.checkpoint.format_utils "
            f"dcp_to_torch {folder} weights.pt` and import that"
        )
    script = next(
        iter([*folder.glob("zero_to_fp32.py"), *folder.glob("*/zero_pp_*")]), None
    )
    if script is not None:
        raise UserError(
            f"{str(folder)!r} is a checkpoint of DeepSpeed: make one file of it with "
            "the zero_to_fp32.py in it and import that"
        )
    if any(folder.glob("adapter_model.*")) or any(folder.glob("*lora_weights.*")):
        raise UserError(
            f"{str(folder)!r} holds a LoRA, which changes another model's weights: "
            "merge it into its base model (peft: merge_and_unload) and import the "
            "result"
        )
    if any(folder.glob("*.gguf")):
        raise UserError(
            f"{str(folder)!r} holds weights quantised for GGUF: download the bfloat16 "
            "or float16 files"
        )
