"""What only the book needs: explorers, drawings, plots, and the verdicts on the paper's claims.

Every chapter imports this package before its first figure, by ``plt.style.use``. So it is here
that a notebook gets a backend of matplotlib that shows figures.
"""

import sys


def _show_figures() -> None:
    """In a notebook, replace a backend of matplotlib that shows nothing by the inline one.

    Batch systems set ``MPLBACKEND=Agg`` for all programs, and a notebook would have no figures,
    without a word. A backend that opens windows stays, and so does one that a cell has chosen.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if not hasattr(shell, "kernel"):
        return
    import matplotlib
    from matplotlib.backends import BackendFilter, backend_registry

    shows_nothing = backend_registry.list_builtin(BackendFilter.NON_INTERACTIVE)
    if matplotlib.get_backend().lower() in shows_nothing:
        shell.run_line_magic("matplotlib", "inline")


_show_figures()
