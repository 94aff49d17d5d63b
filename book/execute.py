"""Run notebooks from top to bottom and store what they show.

``make execute`` does so for all. What differs from run to run is left out,
so that a second run changes nothing: the times, the state of widgets, and the
view of a widget, which without a kernel is an error in JupyterLab; so it
shows the explorer's HTML. What differs from machine to machine, settings in
the environment and in the user's own folders, does not reach the kernel.

Usage: ``python book/execute.py book/*.ipynb``
"""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib
import nbformat
from nbclient import NotebookClient

# Environment variables that change what a cell shows: no figures, warnings,
# narrow or colored texts, no progress bars, no assertions. PYTHONPATH only
# says where packages are.
CHANGING = (
    "MPLBACKEND",
    "COLUMNS",
    "LINES",
    "NO_COLOR",
    "FORCE_COLOR",
    "CLICOLOR",
)
CHANGING_PREFIXES = ("PYTHON", "TQDM_")
HARMLESS = ("PYTHONPATH",)

# Figures are sharp on screens with two device pixels for one, and say in
# their metadata how large they are.
TWICE_THE_PIXELS = "--InlineBackend.figure_formats=retina"

VIEW = "application/vnd.jupyter.widget-view+json"


def kernel_environment(ipython_folder: str) -> dict[str, str]:
    """The environment for the kernel, without what changes its outputs.

    Args:
        ipython_folder: an empty folder, in place of the user's own, which may
            hold settings of IPython.
    """
    environment = {}
    for name, value in os.environ.items():
        is_changing = name in CHANGING or name.startswith(CHANGING_PREFIXES)
        if name in HARMLESS or not is_changing:
            environment[name] = value
    # matplotlib's own defaults, in place of a matplotlibrc of the user
    environment["MATPLOTLIBRC"] = str(
        Path(matplotlib.get_data_path()) / "matplotlibrc"
    )
    environment["IPYTHONDIR"] = ipython_folder
    return environment


def missing_images(notebook: nbformat.NotebookNode) -> list[str]:
    """One sentence for each cell that shows no image where it must."""
    missing = []
    for cell in notebook.cells:
        outputs = [
            output.get("data", {}) for output in cell.get("outputs", [])
        ]
        kinds = {kind for data in outputs for kind in data}
        if any(kind.startswith("image/") for kind in kinds):
            continue
        place = f"cell [{cell.get('execution_count')}]"
        described = cell.metadata.get("mystnb", {}).keys() & {
            "image",
            "figure",
        }
        if described:
            missing.append(
                f"{place} must show a figure, as its metadata describe one, "
                "but shows none: look for what closes the figure, or chooses "
                "another backend of matplotlib"
            )
        html = "".join(data.get("text/html", "") for data in outputs)
        if 'class="explore"' in html:
            missing.append(
                f"{place} must have a picture of its explorer for print, but "
                "has none: pip install -r requirements.txt brings resvg-py, "
                "which draws it"
            )
    return missing


def execute(path: Path, environment: dict[str, str]) -> None:
    """Run a notebook and store it with its outputs.

    Raises:
        CellExecutionError: if a cell raises an error.
        SystemExit: if an image is missing.

    In both cases the file stays as it was.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        extra_arguments=[TWICE_THE_PIXELS],
    )
    client.execute(env=environment)
    missing = missing_images(notebook)
    if missing:
        for sentence in missing:
            print(f"{path}: {sentence}", file=sys.stderr)
        sys.exit(f"{path} is not stored")
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(VIEW, None)
    # A lexer that knows lines with "!"
    notebook.metadata.language_info = {
        "name": "python",
        "pygments_lexer": "ipython3",
    }
    nbformat.write(notebook, path)


def main() -> None:
    with TemporaryDirectory() as ipython_folder:
        environment = kernel_environment(ipython_folder)
        for name in sys.argv[1:]:
            print(name, flush=True)
            execute(Path(name), environment)


if __name__ == "__main__":
    main()
