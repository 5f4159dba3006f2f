"""A comparison in words."""

from collections.abc import Mapping

from anchoredit_jax.reproducibility.comparing import Comparison, Difference

_SHOWN = 8  # differences of a kind


def describe(
    comparison: Comparison, distances: Mapping[str, str] | None = None
) -> list[str]:
    """Lines to print: causes first, then *bit-equal* or the first difference.

    Args:
      distances: name of an array -> how far apart the two are, where that is known.
    """
    lines = list(comparison.causes)
    told = f"{comparison.steps} steps"
    if comparison.checkpoints:
        steps = ", ".join(str(step) for step in comparison.checkpoints)
        told += f", {comparison.arrays} arrays of the state at step {steps}"
    if comparison.equal:
        return [*lines, f"bit-equal: {told}"]
    kind, name = comparison.first[0].kind, comparison.first[0].name
    step = comparison.first[0].step
    lines.append(f"differs first at step {step}: {kind} ({name}); compared: {told}")
    kinds = [difference.kind for difference in comparison.first]
    if kind in ("loss", "gradients"):
        lines.append(
            "  data and draws are equal: the parameters before this step, or the "
            "compiled program, differ"
        )
    for kind in dict.fromkeys(kinds):
        found = [d for d in comparison.first if d.kind == kind]
        lines += [_line(difference, distances or {}) for difference in found[:_SHOWN]]
        if len(found) > _SHOWN:
            lines.append(f"  {kind}: and {len(found) - _SHOWN} more")
    return lines


def _line(difference: Difference, distances: Mapping[str, str]) -> str:
    text = f"  {difference.kind}: {difference.name}: "
    if difference.absolute is None:
        text += f"{difference.left} | {difference.right}"
    else:
        text += (
            f"{difference.left:.9g} | {difference.right:.9g}: "
            f"{difference.absolute:.3g} absolute, {difference.relative:.3g} relative"
        )
    if difference.ulps is not None:
        text += f", {difference.ulps} ulp"
    if difference.name in distances:
        text += f": {distances[difference.name]}"
    return text
