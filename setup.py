"""Package metadata; tool settings are in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
VERSION = next(
    line.split('"')[1]
    for line in (ROOT / "anchoredit_jax" / "version.py").read_text().splitlines()
    if line.startswith("__version__")
)
README = ROOT / "README.md"


class BuildWithScripts(build_py):
    """Takes the scripts and configurations of the clone along, to a place where they
    hide nobody's modules of these names; anchoredit_jax/shipped.py finds them there."""

    def run(self):
        super().run()
        if self.editable_mode:  # they are found in the clone
            return
        for name in ("benchmarks", "configs", "launch"):
            shutil.copytree(
                ROOT / name,
                Path(self.build_lib, "anchoredit_jax", "beside", name),
                ignore=shutil.ignore_patterns("__pycache__", "*.sh", "pods"),
                dirs_exist_ok=True,
            )


setup(
    name="anchoredit_jax",
    version=VERSION,
    description="Multi-turn image editing with a causal diffusion transformer, in JAX",
    long_description=README.read_text() if README.is_file() else "",
    long_description_content_type="text/markdown",
    author="The anchoredit_jax authors",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["anchoredit_jax", "anchoredit_jax.*"]),
    package_data={
        "anchoredit_jax": [
            "assets/*",
            "py.typed",
            "session/*.css",
            "session/*.js",
            "watching/*.css",
            "watching/*.js",
        ]
    },
    cmdclass={"build_py": BuildWithScripts},
    entry_points={"console_scripts": ["anchoredit = anchoredit_jax.cli:main"]},
    install_requires=[
        "jax>=0.10,<0.12",
        "flax>=0.12,<0.14",
        "optax>=0.2.8,<0.4",
        "orbax-checkpoint>=0.12,<0.14",
        "grain>=0.2.18,<0.4",
        "tensorflow-datasets>=4.9.9,<5",
        "importlib_resources>=6",  # tensorflow-datasets imports it, does not name it
        "absl-py>=2",  # Grain's worker processes read its flags
        "einops>=0.8,<0.9",
        "jaxtyping>=0.3,<0.4",
        "ml_collections>=1.1,<2",
        "numpy>=2.1,<3",
        "scipy>=1.13,<2",
        "pillow>=11",
        "safetensors>=0.5,<1",
        "tqdm>=4.66,<5",
        "matplotlib>=3.9,<4",
        "tensorboardX>=2.6.4,<3",
        "filelock>=4.3,<5",  # earlier ones take a process for another of its number
        "psutil>=6",  # comes with Orbax; tells whether a process is still there
    ],
    extras_require={
        "tpu": ["jax[tpu]>=0.10,<0.12"],
        # GPUs of NVIDIA: the driver must be 525 or newer, or 580 or newer.
        "cuda": ["jax[cuda12]>=0.10,<0.12"],
        "cuda13": ["jax[cuda13]>=0.10,<0.12"],
        "torch": [
            "torch>=2.4,<3",
            "diffusers>=0.33,<1",
            "transformers>=4.49,<6",
            "accelerate>=1,<2",  # diffusers' from_pretrained of a Wan transformer
        ],
        # UMT5's tokenizer: tokenizer.json by the first, spiece.model by the second.
        "umt5": ["tokenizers>=0.21,<1", "sentencepiece>=0.2,<1"],
        "app": ["gradio>=6.10,<7"],  # its launch takes the style; comes with pandas
        "wandb": ["wandb>=0.19,<1"],  # metrics go there too, with --wandb PROJECT
        "parquet": ["pyarrow>=17,<27"],  # tables as Hugging Face datasets store them
        "judge": ["openai>=1.55.3,<3"],  # any endpoint that speaks its protocol
        # The site of docs/; its pages are read as they are, without it, too.
        "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.6,<10"],
        "test": [
            "pytest>=8,<10",
            "pytest-xdist>=3.8,<4",
            "beartype>=0.22,<1",  # checks the annotations of arrays in tests
            "basedpyright>=1.31,<2",  # pyright with all that it needs
            "ruff>=0.12,<1",
            "import-linter>=2.17,<3",
            "tokenizers>=0.21,<1",
            "sentencepiece>=0.2,<1",
            "openai>=1.55.3,<3",
            "pyarrow>=17,<27",
            "wandb>=0.19,<1",
            "scikit-image>=0.25,<1",  # its SSIM is what ours is compared with
            "nbclient>=0.10,<1",  # executes the notebook
            "ipykernel>=6.29,<8",
        ],
    },
)
