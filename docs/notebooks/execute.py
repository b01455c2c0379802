"""Run the notebooks in place: ``python docs/notebooks/execute.py [NOTEBOOK ...]``."""

import base64
import io
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).resolve().parent


def execute(path: Path) -> nbformat.NotebookNode:
    """Return a notebook with the outputs of a fresh run, without times and progress."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, record_timing=False).execute()
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
            for output in cell.outputs:
                _settle(output.get("data", {}), f"T_{number}")
    del notebook.metadata["language_info"]
    return notebook


def _settle(data: dict[str, str], name: str) -> None:
    """Name tables after their cell, drop addresses, and hold pictures as JPEG."""
    if " at 0x" in data.get("text/plain", ""):
        data["text/plain"] = "a table"
    if "text/html" in data:
        data["text/html"] = re.sub(r"T_[0-9a-f]{5}", name, data["text/html"])
    if "image/png" in data:
        packed = io.BytesIO()
        picture = Image.open(io.BytesIO(base64.b64decode(data.pop("image/png"))))
        picture.convert("RGB").save(packed, "JPEG", quality=85)
        data["image/jpeg"] = base64.b64encode(packed.getvalue()).decode()


if __name__ == "__main__":
    for path in [Path(name) for name in sys.argv[1:]] or sorted(HERE.glob("*.ipynb")):
        nbformat.write(execute(path), path)
