"""`python -m custom_components <command>`: everything around the bundles that is not a bundle run itself."""

import functools
import sys
from typing import Any

import fire

from .data.check import check
from .data.demo import make_abdomen, make_heads
from .data.sources import SOURCES
from .demo import demo
from .errors import install_excepthook
from .metrics import compare
from .package import package
from .weights.cli import WeightsCommands


def _compare(path_a: str, path_b: str, name_a: str = "A", name_b: str = "B", out: str | None = None) -> str:
    """Compare two evaluations of the same cases: a table per organ with intervals and paired differences.

    Args:
        path_a: output folder of one evaluation.
        path_b: output folder of the other; differences are B minus A.
        name_a: what to call the first.
        name_b: what to call the second.
        out: folder for comparison.txt and comparison.json; None only prints.
    """
    return compare(path_a, path_b, name_a, name_b, write=out)[0]


def _quiet(command: Any) -> Any:
    """Fire prints what a command returns; these have already printed what a reader wants."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        # Fire reads `--parity false` as text, which is true.
        words = {"true": True, "false": False}
        command(
            *args,
            **{key: words.get(value, value) if isinstance(value, str) else value for key, value in kwargs.items()},
        )

    return run


COMMANDS: dict[str, Any] = {
    "datalist": {name: _quiet(source) for name, source in SOURCES.items()},
    "check": _quiet(check),
    "draw": {"abdomen": _quiet(make_abdomen), "heads": _quiet(make_heads)},
    "demo": _quiet(demo),
    "compare": _compare,
    "weights": WeightsCommands,
    "package": _quiet(package),
}


def main() -> None:
    """Entry point."""
    install_excepthook()
    fire.Fire(COMMANDS, command=sys.argv[1:], name="python -m custom_components")


if __name__ == "__main__":
    main()
