"""Drawing subjects: a superellipse face with two-colour stripes, eyes and a mouth.

Lengths are in units of 1/32 of the image's shorter side, measured from its centre;
`scale` is pixels per unit. Edges are antialiased by coverage: a signed distance in
pixels, cut to [-0.5, 0.5].
"""

import numpy as np

from anchoredit_jax.data.sprites.scene import ATTRIBUTES

EXTENT = 10.5  # no subject reaches farther from the centre along an axis

# (from, to) of each attribute that is a length, an exponent or a colour component.
_RANGES = {
    "size": (7.2, 8.4),
    "aspect": (-0.13, 0.13),  # log of width over mean radius
    "squareness": (1.8, 3.0),
    "value": (0.5, 1.0),
    "stripe_hue": (0.25, 0.75),  # of the circle, away from the first hue
    "stripe_value": (0.5, 1.0),
    "saturation": (0.5, 0.95),
    "stripe_angle": (0.0, np.pi),
    "stripe_period": (4.0, 8.0),
    "stripe_phase": (0.0, 2 * np.pi),
    "eye_spacing": (2.6, 4.2),
    "eye_size": (1.4, 2.3),
    "eye_height": (-3.4, -1.0),
    "mouth_width": (1.8, 4.2),
    "mouth_curve": (-2.0, 2.0),
    "mouth_height": (2.6, 4.6),
}
_OUTLINE = 0.9
_OUTLINE_COLOUR = np.array([[40], [34], [40]], np.float32)
_EYE_WHITE = np.array([[250], [250], [250]], np.float32)
_MOUTH_COLOUR = np.array([[52], [12], [20]], np.float32)
_MOUTH_THICKNESS = 0.8
_IRIS = 0.62  # radius over that of the eye


def draw_subjects(
    subjects: np.ndarray, x: np.ndarray, y: np.ndarray, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw u subjects at P points, channels first.

    Args:
      subjects: [u, A] attributes in [0, 1], in the order of `ATTRIBUTES`.
      x, y: [P] points, units from the image's centre, y downwards.
      scale: pixels per unit.

    Returns:
      colours float32 [u, 3, P] in [0, 255], coverage float32 [u, P] in [0, 1].
    """
    get = _attributes(subjects.astype(np.float32))
    x, y = x.astype(np.float32)[None], y.astype(np.float32)[None]

    width = get["size"] * np.exp(get["aspect"])
    height = get["size"] * np.exp(-get["aspect"])
    power = get["squareness"]
    radius = (np.abs(x / width) ** power + np.abs(y / height) ** power) ** (1 / power)
    face = (radius - 1) * np.minimum(width, height)
    coverage = _inside(face, scale)

    wave = np.sin(
        (x * np.cos(get["stripe_angle"]) + y * np.sin(get["stripe_angle"]))
        * (2 * np.pi / get["stripe_period"])
        + get["stripe_phase"]
    )
    stripe = _inside(wave * get["stripe_period"] / (2 * np.pi), scale)
    first = _hsv(get["hue"], get["saturation"], get["value"])
    second = _hsv(
        get["hue"] + get["stripe_hue"], get["saturation"], get["stripe_value"]
    )
    colours = first + stripe[:, None] * (second - first)

    eye = np.hypot(np.abs(x) - get["eye_spacing"], y - get["eye_height"])
    _paint(colours, eye - get["eye_size"], _EYE_WHITE, scale)
    iris = _hsv(get["eye_hue"], np.float32(0.9), np.float32(0.55))
    _paint(colours, eye - _IRIS * get["eye_size"], iris, scale)

    bend = get["mouth_curve"] * ((x / get["mouth_width"]) ** 2 - 0.5)
    mouth = np.maximum(
        np.abs(y - get["mouth_height"] + bend) - _MOUTH_THICKNESS,
        np.abs(x) - get["mouth_width"],
    )
    _paint(colours, mouth, _MOUTH_COLOUR, scale)
    _paint(colours, -_OUTLINE - face, _OUTLINE_COLOUR, scale)
    return colours, coverage


def _attributes(subjects: np.ndarray) -> dict[str, np.ndarray]:
    """Name -> [u, 1] in the attribute's own range."""
    out = {}
    for column, name in enumerate(ATTRIBUTES):
        low, high = _RANGES.get(name, (0.0, 1.0))
        out[name] = np.float32(low) + np.float32(high - low) * subjects[:, column, None]
    return out


def _hsv(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """[u, 1] or scalars (hue in turns) -> RGB float32 [u, 3, 1] in [0, 255]."""
    sector = (np.array([5, 3, 1], np.float32) + hue * 6) % 6
    ramp = np.clip(np.minimum(sector, 4 - sector), 0, 1)
    return (255 * value * (1 - saturation * ramp))[..., None]


def _inside(distance: np.ndarray, scale: float) -> np.ndarray:
    """Coverage of a pixel by a shape at a signed distance (units, negative inside)."""
    return np.clip(0.5 - distance * np.float32(scale), 0, 1)


def _paint(
    colours: np.ndarray, distance: np.ndarray, colour: np.ndarray, scale: float
) -> None:
    """Blend `colour` ([3, 1] or [u, 3, 1]) into colours [u, 3, P], in place."""
    colours += _inside(distance, scale)[:, None] * (colour - colours)
