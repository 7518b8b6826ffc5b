"""An environment of its own for Cellpose 3, which does not live beside Cellpose 4."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

REQUIREMENTS = ("cellpose==3.1.1.2", "torch==2.13.0")
DEFAULT = Path(tempfile.gettempdir()) / "napari-marrow-cellpose3"
PEER = Path(__file__).with_name("cellpose3_peer.py")


def interpreter(venv: Path = DEFAULT) -> Path:
    """Return the Python of an environment with Cellpose 3, made with pip if it is not there."""
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.is_file():
        print(f"Making an environment for {' and '.join(REQUIREMENTS)} in {venv} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
    return python


def run_peer(python: Path, *arguments: object, threads: int | None = None) -> str:
    """Run the peer's script with Cellpose 3's interpreter and return what it prints."""
    own = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)} if threads else {}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | own
    command = [str(python), str(PEER), *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
