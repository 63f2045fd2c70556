"""Task01_BrainTumour of the Medical Segmentation Decathlon: one 4-D file a case, split into the published folds."""

from bundle_runtime.data.conventions import CONVENTIONS
from bundle_runtime.data.sequences import sequence_names
from custom_components.errors import InputError

from .decathlon import Task, read_task
from .registry import Root, source
from .split import Found, by_fold


@source(split=by_fold)
def msd(root: Root) -> Found:
    """Write the datalist of `Task01_BrainTumour`: sequence names, label convention and a seeded fold.

    With the defaults the 97 test cases are those on which SelfMedMAE (arXiv 2203.05573) reports; its authors also chose
    their best epoch on them (`parity`). Here a share of the other 387 selects. The task's own test images have no
    labels and are left out.

    Args:
        root: the folder with `dataset.json`.

    Raises:
        InputError: no readable `dataset.json`, a file it names is missing, channels without sequence names, labels of
            another meaning, or a fold that does not exist.
    """
    task = read_task(root)
    _check_meaning(task)
    sequences = _sequences(task)
    keys = {"modality": "MRI", "sequences": sequences, "label_convention": "msd"}
    return Found(task.entries, keys=keys, name=task.name)


def _sequences(task: Task) -> list[str]:
    """`{"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}` -> flair, t1, t1ce, t2."""
    expected = 'expected the sequence of each channel, such as {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}'
    try:
        channels = {int(channel): str(name) for channel, name in task.modality.items()}
    except (AttributeError, ValueError, TypeError):
        channels = {}
    if not channels or sorted(channels) != list(range(len(channels))):
        raise InputError(f"{task.path}: 'modality' is {task.modality!r}, {expected}.")
    return sequence_names([channels[index] for index in sorted(channels)], f"{task.path}: 'modality'")


def _check_meaning(task: Task) -> None:
    """The names that the task gives its labels must be those that the convention gives them.

    Raises:
        InputError: they differ; labels of another meaning would train under wrong names.
    """
    rule = CONVENTIONS["msd"]
    if {value: _tissue(name) for value, name in task.labels.items()} != rule.tissues:
        raise InputError(
            f"{task.path}: 'labels' is {task.labels}, which is not {rule.describe()}; write the datalist with the "
            "source 'decathlon', then add sequences and the right label_convention to it and take class_names out."
        )


def _tissue(name: str) -> str:
    """The tissue that a label name means, in British or American spelling; a name of no tissue as it is."""
    plain = "".join(letter for letter in name.lower() if letter.isalpha())
    for part, tissue in (
        ("edema", "oedema"),
        ("nonenhancing", "non-enhancing core"),
        ("enhancing", "enhancing tumour"),
    ):
        if part in plain:
            return tissue
    return plain
