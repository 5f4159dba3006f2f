"""The name, title, unit and direction of every measure, for tables and plots."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Measure:
    """How a report shows a measure.

    Attributes:
      name: its key in `measure_session` or `feature_measures`.
      title: a column's heading, without the unit.
      unit: "" for a pure number.
      higher_is_better: None where neither direction is: instructions may ask for such a
        change, and only one that grows without being asked for is a fault.
      limits: of its axis in plots; None for those of the values.
    """

    name: str
    title: str
    unit: str
    higher_is_better: bool | None
    limits: tuple[float, float] | None = None

    @property
    def heading(self) -> str:
        """The title and the unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


MEASURES = (
    Measure("identity_psnr", "untouched pixels to the source, PSNR", "dB", True),
    Measure("identity_ssim", "untouched pixels to the source, SSIM", "", True),
    Measure(
        "consistency_psnr", "untouched pixels to the turn before, PSNR", "dB", True
    ),
    Measure("consistency_ssim", "untouched pixels to the turn before, SSIM", "", True),
    Measure("source_difference", "difference to the source", "levels of 255", None),
    Measure(
        "previous_difference", "difference to the turn before", "levels of 255", None
    ),
    Measure("saturation", "shift of saturation", "", None),
    Measure("luminance_p05", "shift of luminance, 5th percentile", "", None),
    Measure("luminance_p50", "shift of luminance, median", "", None),
    Measure("luminance_p95", "shift of luminance, 95th percentile", "", None),
    Measure("high_frequency", "fine detail, to the source's", "", None),
)

RETURNS = (
    Measure("return_psnr", "a return to the state it is of, PSNR", "dB", True),
    Measure("return_ssim", "a return to the state it is of, SSIM", "", True),
)


def describe_features(name: str) -> tuple[Measure, Measure]:
    """The measures that `feature_measures` makes of the extractor of that name."""
    return (
        Measure(f"{name}_source", f"{name} similarity to the source", "", True),
        Measure(f"{name}_previous", f"{name} similarity to the turn before", "", True),
    )
