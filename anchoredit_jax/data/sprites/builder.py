"""The TFDS builder of sprite sessions: ArrayRecord files, no TensorFlow anywhere."""

import dataclasses
import io
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from anchoredit_jax.data.sprites.sessions import DEFAULT_WEIGHTS
from anchoredit_jax.data.sprites.source import SpriteSource


@dataclasses.dataclass(kw_only=True)
class SpritesConfig(tfds.core.BuilderConfig):
    """Which sessions a dataset holds; see `SpriteSource` for their meaning.

    TFDS names the folder after `name`, so it has to tell datasets apart.
    """

    sessions: int = 1000
    turns: int = 4
    seed: int = 0
    size: int = 32
    weights: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: dict(DEFAULT_WEIGHTS)
    )
    null_fraction: float = 0.0

    def source(self) -> SpriteSource:
        """The same sessions, made when asked for."""
        return SpriteSource(
            turns=self.turns,
            seed=self.seed,
            size=self.size,
            weights=self.weights,
            null_fraction=self.null_fraction,
            length=self.sessions,
        )


class Sprites(tfds.core.GeneratorBasedBuilder):
    """Sessions of N edits: T = N + 1 images and N instructions."""

    VERSION = tfds.core.Version("1.2.0")
    RELEASE_NOTES = {
        "1.2.0": "Where turns have several right answers.",
        "1.1.0": "Which turns have one right answer; no colour twice in a scene.",
        "1.0.0": "First release.",
    }
    BUILDER_CONFIGS = [SpritesConfig(name="default")]

    builder_config: SpritesConfig

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        image = tfds.features.Image(
            shape=(config.size, config.size, 3), dtype=np.uint8, encoding_format="png"
        )
        return self.dataset_info_from_configs(
            description="Procedural editing sessions with exact ground truth.",
            features=tfds.features.FeaturesDict(
                {
                    "images": tfds.features.Sequence(image, length=config.turns + 1),
                    "instructions": tfds.features.Sequence(
                        tfds.features.Text(), length=config.turns
                    ),
                    "answers": tfds.features.Tensor(
                        shape=(config.turns, config.size, config.size), dtype=np.bool_
                    ),
                    "id": np.int64,
                }
            ),
            disable_shuffling=True,  # record i is session i
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict]]:
        source = self.builder_config.source()
        for index in range(len(source)):
            record = source[index]
            images = [_png(image) for image in record["images"]]
            stored = {k: v for k, v in record.items() if k != "follows"}
            yield index, {**stored, "images": images}


def _png(image: np.ndarray) -> io.BytesIO:
    """A file object: TFDS would ask TensorFlow to compress an array."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    out.seek(0)
    return out
