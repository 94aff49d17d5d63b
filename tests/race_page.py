"""Pages with a race each, for several test files."""

import re
import sys

from engine_page import PAGE
from helpers import ROOT

sys.path.insert(0, str(ROOT / "book" / "_ext"))

import live_parts

# The colors of the theme, which the style takes
THEME = """<style>
html { --pst-color-background: #fff; --pst-color-surface: #f3f4f5; --pst-color-border: #d1d5da;
  --pst-color-text-base: #222832; --pst-color-text-muted: #48566b; --pst-color-link: #176de8; }
html[data-theme="dark"] { --pst-color-background: #14181e; --pst-color-surface: #29313d;
  --pst-color-border: #48566b; --pst-color-text-base: #ced6dd; --pst-color-text-muted: #9ca4af;
  --pst-color-link: #66a3ff; color-scheme: dark; }
body { background: var(--pst-color-background); color: var(--pst-color-text-base); margin: 1rem;
  font-family: sans-serif; }
</style>"""


def make_site(folder, **races):
    """Fill a folder with a page for each race, and with the scripts that it needs."""
    live_parts.write_files(folder)
    head = re.sub(r"<script src=.*?</script>", "", PAGE).replace("<title>engine", "<title>race")
    head = head.replace("<!DOCTYPE html>", '<!DOCTYPE html><html lang="en">')
    for name, race in races.items():
        part = folder / f"{name}.part.html"
        part.write_text(race.render(), encoding="utf-8")
        html = live_parts.part_of_page(part, ".")
        page = f'{head}<meta name="viewport" content="width=device-width">{THEME}<main>'
        page += f"<h1>A race</h1>{html}</main>"
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
