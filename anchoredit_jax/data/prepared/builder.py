"""The TFDS builder of one part of a dataset: ArrayRecord files, no TensorFlow."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds


@dataclasses.dataclass(kw_only=True)
class PartConfig(tfds.core.BuilderConfig):
    """Which sessions a part holds.

    Attributes:
      records: makes the records, each a mapping as `Sessions` stores it.
    """

    records: Callable[[], Iterator[Mapping[str, Any]]] | None = None


class Sessions(tfds.core.GeneratorBasedBuilder):
    """Editing sessions: T encoded images and N = T - 1 instructions in each language.

    Images stay the files they were, bytes that `decode_to_bucket` reads.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    BUILDER_CONFIGS = [PartConfig(name="empty")]

    builder_config: PartConfig

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        return self.dataset_info_from_configs(
            description="Editing sessions of images and instructions.",
            features=tfds.features.FeaturesDict(
                {
                    "key": text,
                    "images": tfds.features.Sequence(text),
                    "languages": tfds.features.Sequence(text),
                    # All turns of the first language, then those of the next.
                    "instructions": tfds.features.Sequence(text),
                    "turns": np.int64,
                }
            ),
            disable_shuffling=True,  # record i is session i
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict]]:
        records = self.builder_config.records
        for index, record in enumerate(records() if records else ()):
            yield index, dict(record)
