"""Run the notebooks in place: ``python docs/notebooks/execute.py [NOTEBOOK ...]``."""

import base64
import io
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
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
            for output in cell.outputs:
                _shrink(output.get("data", {}))
    del notebook.metadata["language_info"]
    return notebook


def _shrink(data: dict[str, str]) -> None:
    """Hold a picture as JPEG; a tenth of the bytes."""
    if "image/png" in data:
        packed = io.BytesIO()
        picture = Image.open(io.BytesIO(base64.b64decode(data.pop("image/png"))))
        picture.convert("RGB").save(packed, "JPEG", quality=85)
        data["image/jpeg"] = base64.b64encode(packed.getvalue()).decode()


if __name__ == "__main__":
    for path in [Path(name) for name in sys.argv[1:]] or sorted(HERE.glob("*.ipynb")):
        nbformat.write(execute(path), path)
