"""Where the book lies."""


from pathlib import Path



RECORD = Path(__file__).parents[2] / "book" / "record.json"
