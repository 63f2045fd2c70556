"""Writes golden files anew: `python -m tests.golden.write <bundle> ... datalists`.

For a change that is meant to change results, in a commit of its own that says why: never in one that only moves or
merges code, which the golden files are there to check.
"""

import sys
import tempfile
from pathlib import Path

from .collect import collect
from .compare import write
from .datalists import made_by
from .draw_trees import TREES
from .stages import BUNDLES, run_bundle

_DATALISTS = "datalists"


def main(names: list[str]) -> None:
    """Run and write what is named."""
    known = [*BUNDLES, _DATALISTS]
    if not names or not set(names) <= set(known):
        sys.exit(f"Name what is written anew: {', '.join(known)}.")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder).resolve()
            if name == _DATALISTS:
                content = {source: made_by(source, root) for source in sorted(TREES)}
            else:
                run_bundle(name, root)
                content = collect(root / "run")
            print(f"Wrote {write(name, content)}.")


if __name__ == "__main__":
    main(sys.argv[1:])
