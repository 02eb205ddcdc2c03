"""Small tokenisers of every family, exported: seeds and tables for the fuzzers.

python tests/fuzz/seeds.py FOLDER
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))
import families
from texts import texts_of

from anydraft import Vocabulary


def main():
    tables, texts = (Path(sys.argv[1]) / name for name in ("tables", "texts"))
    tables.mkdir(parents=True, exist_ok=True)
    texts.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name, (path, kind) in families.write_all(Path(scratch)).items():
            Vocabulary.from_file(path, kind=kind).export(tables / name)
    for number, text in enumerate(texts_of("fuzz", 20_000)):
        (texts / str(number)).write_bytes(bytes([number % 256]) + text.encode())


main()
