"""A stage's measurements at Weights & Biases, for those who collect theirs there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from anchoredit_jax.errors import UserError
from anchoredit_jax.files import blake2b


class WandbRun:
    """One run of a project. A resumed stage goes on in it: its name follows from its
    folder. Whether anything is sent is Weights & Biases' own setting
    (`WANDB_MODE=offline` writes to `<folder>/wandb` alone)."""

    def __init__(self, project: str, folder: Path, config: Mapping[str, Any]):
        """
        Args:
          project: of Weights & Biases.
          folder: of the stage.
          config: nested plain values that the run is shown with.

        Raises:
          UserError: the library is not installed, or refuses to begin.
        """
        try:
            import wandb
        except ImportError as error:
            raise UserError(
                "--wandb needs Weights & Biases: pip install 'anchoredit_jax[wandb]'"
            ) from error
        folder.mkdir(parents=True, exist_ok=True)
        self._image = wandb.Image
        try:
            self._run = wandb.init(
                project=project,
                name=f"{folder.parent.name}/{folder.name}",
                id=blake2b(str(folder).encode()),
                dir=str(folder),
                config=dict(config),
                resume="allow",
            )
        except wandb.errors.Error as error:
            raise UserError(
                f"--wandb: Weights & Biases does not begin ({error}): log in by "
                "`wandb login`, or set WANDB_MODE=offline"
            ) from error
        # Its own counter only grows; ours stands beside a step that is done again.
        self._run.define_metric("*", step_metric="step")

    def log(self, values: Mapping[str, float]) -> None:
        """One row, with its "step"."""
        self._run.log(dict(values))

    def picture(self, step: int, name: str, picture: Image.Image) -> None:
        """A picture of a step."""
        self._run.log({"step": step, name: self._image(picture)})

    def finish(self) -> None:
        """Wait until all is written, and sent where it is to be."""
        self._run.finish()
