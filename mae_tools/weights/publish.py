"""Publish the weights of a team: a release with checksums, the record of their training and a statement on the data.

Weights are too large for a package that the Model Zoo keeps: its `large_files.yml` names where they lie.
"""

import re
import shutil
from pathlib import Path
from typing import Any

from bundle_runtime.files import write_atomically, write_json
from bundle_runtime.weights.io import check_sha256, read_sidecar, sha256_of
from custom_components.errors import InputError

from ..measured import trainings_of
from ..package import package, weights_of

STATEMENT = {
    "Origin": "which institutions and studies the images come from, and when they were taken",
    "Permission": "what allows their use and the release of weights: consent, ethics vote, licence of a public set",
    "De-identification": "how, and who has checked it",
    "Population": "ages, sexes, scanners, findings; who is missing",
    "Licence of the weights": "under which others may use them",
}


def publish(bundle: str, out: str, weights_url: str, data: str | None = None) -> str:
    """Prepare a release of trained weights: `<out>/<bundle>_v<version>/`.

    In it are the weights and their sidecars, a package of the bundle whose `large_files.yml` fetches them from
    `weights_url`, `training_record.json` (what they have learnt, from which data, with which settings), the statement
    on the data, and `SHA256SUMS`. Upload the folder as it is.

    Args:
        bundle: The bundle's folder, with trained weights in `models/`.
        out: Where to write.
        weights_url: Where the folder will lie.
        data: A Markdown file, the statement on the data. Without one a form is printed.
    """
    root = Path(bundle)
    statement = _statement(data)
    files = weights_of(root)
    record = _record(root)
    made = package(root, Path(out) / "packages", weights_url=weights_url)
    target = Path(out) / made.stem
    if target.exists():
        raise InputError(f"{target} is there already; a release does not change, so raise the version of the bundle.")
    target.mkdir(parents=True)
    for file in files.values():
        shutil.copy2(file, target / file.name)
    for file in (made, made.with_name(f"{made.name}.sha256")):
        shutil.move(str(file), target / file.name)
    (Path(out) / "packages").rmdir()
    write_json(target / "training_record.json", record)
    write_atomically(target / "DATA.md", statement)
    sums = [f"{sha256_of(file)}  {file.name}\n" for file in sorted(target.iterdir())]
    write_atomically(target / "SHA256SUMS", "".join(sums))
    return f"{target}: {len(sums) + 1} files; upload it so that {weights_url.rstrip('/')}/model.pt is its model.pt"


def _statement(data: str | None) -> str:
    """The statement on the data, complete."""
    form = "\n".join(f"## {title}\n<{what}>\n" for title, what in STATEMENT.items())
    if data is None:
        raise InputError(
            f"data is missing: write a statement on the data with these parts and name its file.\n\n{form}"
        )
    try:
        text = Path(data).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{data}: the statement on the data cannot be read ({error}).") from error
    parts = {title.strip(): said.strip() for title, said in re.findall(r"^## (.+)\n((?:(?!## ).*\n?)*)", text, re.M)}
    lacking = [title for title in STATEMENT if not parts.get(title) or parts[title].startswith("<")]
    if lacking:
        raise InputError(f"{data}: '## {lacking[0]}' is missing or not filled in; say {STATEMENT[lacking[0]]}.")
    return text


def _record(root: Path) -> dict[str, Any]:
    """What the sidecar of the weights says of their training, and manifest and history of that run where it is there.

    Raises:
        InputError: there are no weights, they are not those of the sidecar, or it has no record.
    """
    model = root / "models" / "model.pt"
    if not model.is_file():
        raise InputError(f"{model} is missing; train the bundle first.")
    sidecar = read_sidecar(model) or {}
    if not check_sha256(model) or "training" not in sidecar:
        raise InputError(f"{model}: no record of its training lies beside it; publish what `train` has written.")
    if not sidecar.get("finished", True):
        raise InputError(f"{model}: its training was stopped; go on with it (--resume true) before you publish.")
    return {"weights": sidecar, "run": next(trainings_of(root, {model: sidecar}), None)}
