"""What only the book needs: explorers, drawings, plots, and the verdicts on the paper's claims."""
