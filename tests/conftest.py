import sys
from pathlib import Path

for folder in ("python", "models"):  # toys.py; tiny.py
    sys.path.insert(0, str(Path(__file__).parent / folder))
