"""`python -m benchmarks.studies run|status|table|figure <study.yaml> ...`; see README.md."""

import argparse
import sys
from pathlib import Path

from .driver import Driver, pretrainings
from .figures import figures, reconstructions
from .store import Store
from .study import SIZES, Study, StudyError
from .tables import table
from .workshop import Workshop, refuse_unknown_settings

HERE = Path(__file__).parent


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = _parser().parse_args(arguments)
    try:
        return max([_one(Study.load(path, args.size), args) for path in args.study])
    except StudyError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2


def _one(study: Study, args: argparse.Namespace) -> int:
    """The command for one study; returns the exit code."""
    store = Store(study, args.results / study.name)
    if args.command == "run":
        return _run(store, args)
    if args.command == "status":
        for arm, share, seed in study.runs():
            word = "missing" if store.run(arm, share, seed) is None else "done"
            print(f"{word:8}{store.run_path(arm, share, seed).stem}")
    elif args.command == "table":
        print(table(store, write=True))
    else:
        made = figures(store)
        if (args.work / study.name).is_dir():
            made.append(reconstructions(store, _workshop(study, args), pretrainings(study)))
        print("\n".join(str(path) for path in made if path is not None))
    return 0


def _run(store: Store, args: argparse.Namespace) -> int:
    refuse_unknown_settings(store.study)
    for option, given, known in (("share", args.share, store.study.shares), ("arm", args.arm, store.study.arms)):
        for value in set(given) - set(known):
            raise StudyError(f"--{option} {value}: {store.study.name} has {', '.join(map(str, known))}")
    with _workshop(store.study, args) as workshop:
        failures = Driver(store.study, workshop, store).run(args.first, args.share, args.arm)
    print(table(store, write=True))
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if failures else 0


def _workshop(study: Study, args: argparse.Namespace) -> Workshop:
    return Workshop(args.work / study.name, study.data, args.data)


def _parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m benchmarks.studies", description=__doc__)
    commands = result.add_subparsers(dest="command", required=True)
    for name, text in (
        ("run", "run what is missing, then print the table; the same command goes on after an interruption"),
        ("status", "which runs are there"),
        ("table", "print and write the table, from the JSONs alone"),
        ("figure", "draw the curves from the JSONs; with --work the reconstructions too, into that folder"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("study", type=Path, nargs="+", help="YAML files of studies")
        if name == "run":
            which = command.add_mutually_exclusive_group()
            which.add_argument("--first", action="store_true", help="only the arms that the study names first")
            which.add_argument("--arm", nargs="+", default=[], help="only these arms")
            command.add_argument("--share", type=float, nargs="+", default=[], help="only these shares of the labels")
        size = command.add_mutually_exclusive_group()
        for section in SIZES:
            size.add_argument(
                f"--{section}", dest="size", action="store_const", const=section, help=f"its '{section}:'"
            )
        command.add_argument("--results", type=Path, default=HERE / "results", help="folder of the JSONs (%(default)s)")
        command.add_argument("--work", type=Path, default=Path("studies_work"), help="folder of the runs (%(default)s)")
        command.add_argument("--data", type=Path, help="the data set's folder, in place of the study's")
    return result


if __name__ == "__main__":
    sys.exit(main())
