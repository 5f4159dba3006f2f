"""Datasets of records on the disk, through TFDS: ArrayRecord files, no TensorFlow."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from anchoredit_jax.files import check_plain

Features = Mapping[str, Any]
Record = Mapping[str, Any]
SHARD = 2**30  # bytes after which another record file begins


class _Builder(tfds.dataset_builders.AdhocBuilder, skip_registration=True):
    """TFDS' own asks TensorFlow whether the records are a dataset of its."""

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return dict(self._split_datasets)

    def _generate_splits(
        self, dl_manager: Any, download_config: Any
    ) -> Sequence[tfds.core.SplitInfo]:
        """Records as they come: TFDS' own holds a gigabyte of them in memory, and
        asks TensorFlow to store what is more."""
        ((name, records),) = self._split_datasets.items()
        template = self._get_filename_template(split_name=name)
        lengths, size = _write_shards(
            Path(template.data_dir),
            (self.info.features.serialize_example(record) for _, record in records),
        )
        for number in range(len(lengths)):
            path = template.sharded_filepath(
                shard_index=number, num_shards=len(lengths)
            )
            _shard(Path(template.data_dir), number).rename(path)
        return [
            tfds.core.SplitInfo(
                name=name,
                shard_lengths=lengths,
                num_bytes=size,
                filename_template=template,
            )
        ]


def write_records(
    folder: str | Path,
    names: tuple[str, str],
    notes: Mapping[str, str],
    features: Features,
    records: Iterable[Record],
    description: str,
) -> Path:
    """Write records in their order as a dataset that is there whole or not at all.

    A dataset of these names that is there is kept, and `records` is not asked.

    Args:
      names: Of the dataset and of its configuration, which tells it from others.
      notes: What every version brought, the present version first.
      features: What TFDS should know of a record.

    Returns:
      The folder below `folder` that holds it, for `open_records`.
    """
    check_plain(Path(folder), "datasets")
    builder = _Builder(
        name=names[0],
        config=names[1],
        version=next(iter(notes)),
        release_notes=notes,
        features=tfds.features.FeaturesDict(features),
        split_datasets={"train": enumerate(records)},
        data_dir=str(folder),
        description=description,
        file_format="array_record",
        disable_shuffling=True,  # record i is the i-th
    )
    builder.download_and_prepare()
    return Path(builder.data_dir)


def _write_shards(folder: Path, records: Iterable[bytes]) -> tuple[list[int], int]:
    """Write records into files of about `SHARD` bytes: (records of each, bytes)."""
    from array_record.python.array_record_module import ArrayRecordWriter

    folder.mkdir(parents=True, exist_ok=True)
    lengths: list[int] = []
    total, records = 0, iter(records)
    while (first := next(records, None)) is not None:
        writer = ArrayRecordWriter(str(_shard(folder, len(lengths))), "group_size:1")
        count, size = 0, 0
        try:
            for record in chain([first], records):
                writer.write(record)
                count, size = count + 1, size + len(record)
                if size >= SHARD:
                    break
        finally:
            writer.close()
        lengths.append(count)
        total += size
    return lengths, total


def _shard(folder: Path, number: int) -> Path:
    return folder / f"{number}.unnamed"  # until it is known of how many


def open_records(folder: str | Path) -> tfds.core.DatasetBuilder:
    """The dataset in a folder that `write_records` returned, to be read at random."""
    return tfds.builder_from_directory(str(folder))


def count_records(builder: tfds.core.DatasetBuilder) -> None:
    """Compare the record files of a dataset with what it says of them.

    Raises:
      ValueError: a file is missing or has another number of records; or what TFDS and
        ArrayRecord raise on damaged ones, see `seals.reading`.
    """
    from array_record.python.array_record_module import ArrayRecordReader

    split = builder.info.splits["train"]
    for name, told in zip(split.filepaths, split.shard_lengths, strict=True):
        if not Path(name).is_file():
            raise ValueError(f"{Path(name).name} is missing")
        reader = ArrayRecordReader(str(name))
        try:
            found = reader.num_records()
        finally:
            reader.close()
        if found != told:
            raise ValueError(f"{Path(name).name} has {found} of {told} records")
