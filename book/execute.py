"""Run notebooks from top to bottom and store what they show: ``python book/execute.py book/*.ipynb``, or ``make execute``.

What differs from run to run is left out, so that a second run changes nothing: the times, the widgets' state, and the view
of a widget whose kernel is gone. Lab would show an error in its place; so it shows the explorer's HTML.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

for path in map(Path, sys.argv[1:]):
    print(path, flush=True)
    notebook = nbformat.read(path, as_version=4)
    here = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, resources=here, record_timing=False, store_widget_state=False, coalesce_streams=True).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    notebook.metadata.language_info = {"name": "python", "pygments_lexer": "ipython3"}  # which knows lines with "!"
    nbformat.write(notebook, path)
