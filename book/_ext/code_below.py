"""One fold of code for each figure, below it.

In a notebook the cells that make a figure stand above it, often two or three.
On the pages a reader sees the figure first, and then one line that opens to
the code of all of them. A cell that shows nothing, and is followed by no cell
that does, keeps its own.
"""

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode, HideInputCells
from sphinx.transforms.post_transforms import SphinxPostTransform


def fold_of(cell):
    """The folded code of a cell."""
    for part in cell.children:
        if isinstance(part, HideCodeCellNode):
            return part
    return None


def is_folded(node):
    return isinstance(node, nodes.container) and node.get("hide_mode") in (
        "input",
        "all",
    )


def shows_something(cell):
    """Whether a cell has an output, folded or not."""
    outputs = cell.findall(
        lambda node: (
            getattr(node, "attributes", {}).get("nb_element")
            == "cell_code_output"
        )
    )
    return any(outputs)


def runs_of_cells(parent):
    """Folded cells in a row, each run up to a cell that shows something."""
    run = []
    for node in list(parent.children):
        if not is_folded(node):
            run = []
            continue
        run.append(node)
        if shows_something(node):
            yield run
            run = []


def make_one_fold(run):
    """Move the code of a run of cells to the last one's, below its output.

    An output that is folded itself stays below the code.
    """
    *before, last = run
    fold = fold_of(last)
    labels = [fold_of(cell)["prompt_show"] for cell in run]
    content = []
    for cell, label in zip(run, labels):
        # "How this figure is drawn" three times says nothing
        if labels.count(label) == 1 and label != labels[-1]:
            content.append(nodes.paragraph(label, label, classes=["label"]))
        content += fold_of(cell).children
    fold.children = []
    fold.extend(content)
    for cell in before:
        cell.parent.remove(cell)
    last.remove(fold)
    last.append(fold)


class FoldBelow(SphinxPostTransform):
    # Once each cell's code is folded
    default_priority = HideInputCells.default_priority + 1
    formats = HideInputCells.formats

    def run(self, **kwargs):
        for parent in [self.document, *self.document.findall(nodes.Element)]:
            for run in runs_of_cells(parent):
                make_one_fold(run)


def setup(app):
    app.add_post_transform(FoldBelow)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
