"""`make demo`: every stage of a bundle through its real commands, at a size that a laptop manages."""

import contextlib
import inspect
import io
import multiprocessing
import os
import runpy
import shlex
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from bundle_runtime.data.datalist import parse
from bundle_runtime.files import write_atomically, write_json
from bundle_runtime.pages.page import Figure, Part, write_page
from custom_components.errors import InputError
from PIL import Image

from .bundles import SEGMENTATION, Tools, find_bundle, load, overlays, read_tools, refuse_unknown
from .check.command import check
from .compare.command import compare
from .demo_data import PAINTERS
from .sources import SOURCES


def demo(
    bundle: str = "btcv_unetr_mae",
    out: str = "demo_output",
    dataset_dir: str | None = None,
    datalist: str | None = None,
    **settings: Any,
) -> None:
    """Run check, pretrain, train from scratch and from MAE, evaluate both, inference; print the comparison.

    A bundle that classifies and segments does both with the drawn set; with data of a user, what its labels are for.

    Args:
        bundle: name of a bundle.
        out: folder for everything that is made; logs of each step are in `<out>/logs`.
        dataset_dir: folder of real data; None draws a synthetic set into `<out>/data`.
        datalist: its datalist; None takes `<dataset_dir>/datalist.json`, or makes one from the folder's files.
        **settings: further settings for all stages, e.g. `--spacing '[1,1,1]'`; a stage that lacks one is not given it.

    Raises:
        InputError: an unknown bundle or setting, or a step failed.
    """
    start = time.monotonic()
    root = find_bundle(bundle)
    configs, tools = root / "configs", read_tools(root)
    refuse_unknown(settings, [root])
    folder = Path(out).resolve()
    data = _data(tools, folder, dataset_dir, datalist, settings)
    tasks = {"": data}
    if (configs / f"train{SEGMENTATION}.yaml").exists() and "task" not in parse(data.datalist):
        tasks = {SEGMENTATION: data}
    elif dataset_dir is None and tools.masks is not None:
        masks = data.folder / tools.masks
        tasks[SEGMENTATION] = _Data(masks.parent, masks)

    runner = _Runner(root, folder, settings)
    for task, part in tasks.items():
        runner.check(task, part)
    with ThreadPoolExecutor(1) as beside:  # on a core of its own, the arm that waits for no pre-training
        scratch = beside.submit(runner.arm, "scratch", tasks)
        runner.stage("pretrain", "pretrain", data, model_dir=folder / "models")
        runner.arm("mae", tasks)
        for task, part in tasks.items():
            runner.stage(f"inference{task}", f"inference{task}", part, model_dir=folder / "mae")
        if dataset_dir is None and tools.slides is not None:
            runner.detect(data, tools.slides)
        scratch.result()
    texts = [runner.compare(task) for task in tasks]

    notice = "Synthetic data, drawn by a program: these numbers say what pre-training gives there, not in a hospital."
    notice = notice if dataset_dir is None else f"Data: {data.folder}."
    figures = _figures(folder, list(tasks))
    write_thumbnail(_figures(folder, list(tasks)[:1]), folder / "thumbnail.png")
    write_page(folder / "demo.html", f"Demo of {root.name}", [Part(notes=[notice], texts=texts, figures=figures)])
    minutes = (time.monotonic() - start) / 60
    print("\n" + "\n\n".join(texts) + f"\n{notice}\nThe same with pictures: {folder / 'demo.html'}")
    print(f"Thumbnails of the data: {folder / 'check' / 'check.html'}\nOutput of each step: {folder / 'logs'}")
    print(f"Done in {minutes:.1f} minutes. Everything is in {folder}.")


def _figures(folder: Path, tasks: list[str]) -> list[Figure]:
    """What pre-training filled in at its end, then both arms beside each other."""
    filled = sorted((folder / "pretrain" / "pictures").glob("*.png"))
    last = [path for path in filled if path.name.split("_")[:2] == filled[-1].name.split("_")[:2]]
    drawn = [folder / f"comparison{task}" / "comparison.png" for task in tasks]
    chosen = [("Pre-training", path) for path in last] + [("Both arms", path) for path in drawn if path.exists()]
    return [Figure(f"{title}: {path.relative_to(folder)}", path.read_bytes()) for title, path in chosen]


def write_thumbnail(figures: list[Figure], path: Path, width: int = 700) -> None:
    """One small picture of a demo: the first of pre-training, below it the last of both arms."""
    if not figures:
        return
    opened = [Image.open(io.BytesIO(figure.content)).convert("RGB") for figure in (figures[0], figures[-1])]
    parts = [image.resize((width, image.height * width // image.width), Image.Resampling.LANCZOS) for image in opened]
    whole = Image.new("RGB", (width, sum(part.height for part in parts)))
    whole.paste(parts[0])
    whole.paste(parts[1], (0, parts[0].height))
    stream = io.BytesIO()
    whole.save(stream, "PNG", optimize=True)
    write_atomically(path, stream.getvalue())


class _Data(NamedTuple):
    """A data set: its folder and its datalist."""

    folder: Path
    datalist: Path


def _data(tools: Tools, folder: Path, dataset_dir: str | None, datalist: str | None, settings: dict[str, Any]) -> _Data:
    """The data to run on, made where it is missing."""
    if dataset_dir is None:
        if datalist is not None:
            raise InputError("A datalist was given without dataset_dir; give the folder that its paths start from.")
        data_dir = folder / "data"
        if not (data_dir / "datalist.json").exists():
            if tools.draw is None:
                raise InputError("The bundle's configs/tools.yaml names nothing to draw; give --dataset_dir.")
            PAINTERS[tools.draw](data_dir)
        return _Data(data_dir, data_dir / "datalist.json")
    data_dir = Path(dataset_dir).resolve()
    given = Path(datalist).resolve() if datalist is not None else data_dir / "datalist.json"
    if datalist is not None or given.exists():
        return _Data(data_dir, given)
    return _Data(data_dir, _made(tools.source, data_dir, folder / "datalist.json", settings))


def _made(source: str, data_dir: Path, path: Path, settings: dict[str, Any]) -> Path:
    """Write a datalist from the files of a folder.

    Raises:
        InputError: the files do not fit the layout, or nothing says what their labels mean.
    """
    takes_names = "class_names" in inspect.signature(SOURCES[source]).parameters
    named = {"class_names": settings["class_names"]} if takes_names and "class_names" in settings else {}
    try:
        made = SOURCES[source](data_dir, out=path, **named)
    except InputError as error:
        raise InputError(f"{data_dir} holds no datalist.json, and `datalist {source}` fails: {error}") from error
    if takes_names and "class_names" not in made:
        path.unlink()
        raise InputError(
            f"{data_dir} holds no datalist.json; write one with `python -m mae_tools datalist`, or add "
            "ARGS=\"--class_names '[background,liver,...]'\" to have one made from the folder's files."
        )
    return path


class _Runner:
    """Runs the steps as commands of their own, shows each command, keeps each log."""

    def __init__(self, root: Path, folder: Path, settings: dict[str, Any]) -> None:
        self.root, self.configs = root, root / "configs"
        self.folder, self.settings = folder, settings
        self.steps: list[dict[str, Any]] = []
        self._failure: InputError | None = None
        self._running: set[BaseProcess] = set()
        self._lock = Lock()
        # A step is a process of its own, forked from one that has imported MONAI: that takes seconds.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // 2)))  # two steps run at a time
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["monai.bundle", "mae_tools.demo"])

    def check(self, task: str, data: _Data) -> None:
        """Open every file before any training starts."""
        train = load(self.configs / f"train{task}.yaml")
        values = {**train, **self._overlay(f"train{task}"), **self.settings}
        if "label_convention" in train:
            values["need_convention"] = True
        wanted = {
            key: values[key]
            for key in inspect.signature(check).parameters
            if key in values and key not in ("dataset_dir", "datalist") and not str(values[key]).startswith(("$", "@"))
        }
        wanted = {key: value for key, value in wanted.items() if value is not None}
        name = f"check{task}"
        command = ["mae_tools", "check", str(data.datalist), "--dataset_dir", str(data.folder)]
        self._run(name, [*command, "--out", str(self.folder / name), *_flags(wanted)])

    def arm(self, arm: str, tasks: dict[str, _Data]) -> None:
        """Train from `arm` ("scratch" or "mae") and evaluate, for each task."""
        encoder = self.folder / "models" / "pretrained_encoder.safetensors"
        for task, data in tasks.items():
            folder = self.folder / arm
            self.stage(f"train{task}", f"train{task}_{arm}", data, init=arm, model_dir=folder, encoder_file=encoder)
            self.stage(f"evaluate{task}", f"evaluate{task}_{arm}", data, model_dir=folder, keep_maps=True)

    def compare(self, task: str) -> str:
        """The text of the comparison, which is also written."""
        scratch, mae = (self.folder / f"evaluate{task}_{arm}" for arm in ("scratch", "mae"))
        where = self.folder / f"comparison{task}"
        return compare(scratch, mae, "from scratch", "from MAE", write=where, pictures=True)[0]

    def detect(self, data: _Data, kind: str) -> None:
        """Look for the target on drawn slides with the classifier that was just trained."""
        slides = data.folder / "slides"
        if not slides.exists():
            PAINTERS[kind](slides)
        place = _Data(slides, data.datalist)
        self.stage("detect", "detect", place, model_dir=self.folder / "mae", annotations=slides)

    def stage(self, stage: str, name: str, data: _Data, **overrides: object) -> None:
        """Run one stage of the bundle, with the demo overlays, into its own folder."""
        base = self.configs / f"{stage}.yaml"
        known = load(base)
        values: dict[str, object] = {"bundle_root": self.root, "dataset_dir": data.folder, "datalist": data.datalist}
        values |= {"output_dir": self.folder / name, "cache": self.folder / "cache", "overwrite": True}
        if known.get("cache") == "ram":
            del values["cache"]
        values |= {**overrides, **self.settings}  # the folders are the demo's own
        files = str([str(path) for path in (base, *overlays(self.configs, stage))])
        command = ["monai.bundle", "run", "--config_file", files]
        self._run(name, command + _flags({key: value for key, value in values.items() if key in known}))

    def _overlay(self, stage: str) -> dict[str, Any]:
        return {key: value for path in overlays(self.configs, stage) for key, value in load(path).items()}

    def _run(self, name: str, command: list[str]) -> None:
        log = self.folder / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        print(f"\n=== {name}: {shlex.join(['python', '-m', *command])}", flush=True)
        start = time.monotonic()
        step = self._context.Process(target=_as_command, args=(command, log))
        with self._lock:
            if self._failure is not None:  # the other arm's
                raise self._failure
            step.start()
            self._running.add(step)
        step.join()
        seconds = round(time.monotonic() - start, 1)
        with self._lock:
            self._running.remove(step)
            record = {"step": name, "command": ["-m", *command], "seconds": seconds, "exit_code": step.exitcode}
            self.steps.append(record)
            write_json(self.folder / "steps.json", self.steps)
            if step.exitcode and self._failure is None:
                said = f"The step '{name}' failed with exit code {step.exitcode}; its output is in {log}."
                self._failure = InputError(said)
                for other in self._running:
                    other.terminate()
            if self._failure is not None:
                raise self._failure
        print(f"=== {name} took {seconds:.0f} s", flush=True)


def _as_command(command: list[str], log: Path) -> None:
    """What `python -m <command>` does, in this process; its output goes to `log`, progress bars to the terminal."""
    with log.open("w", encoding="utf-8") as stream:
        os.dup2(stream.fileno(), 1)
    sys.argv = list(command)
    try:
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
    except Exception as error:  # of which multiprocessing would print the traceback, whatever the command says of it
        for place in (sys.stderr, sys.stdout):  # to the terminal, and to the log
            with contextlib.redirect_stderr(place):
                sys.excepthook(type(error), error, error.__traceback__)
        sys.exit(1)


def _flags(values: dict[str, Any]) -> list[str]:
    """Settings as command-line flags; lists in a form that MONAI's and our command line both read."""
    return [
        part for key, value in values.items() for part in (f"--{key}", value if isinstance(value, str) else str(value))
    ]
