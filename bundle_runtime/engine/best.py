"""Write the weights that the next stage reads: the best network on validation, and the pre-trained encoder."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from custom_components.distributed import is_main, say
from custom_components.errors import InputError
from custom_components.networks.find import find_vit, unwrap
from ignite.engine import Events
from monai.engines import Evaluator, SupervisedEvaluator
from monai.engines.workflow import Workflow
from torch import nn

from ..weights.io import read_sidecar, sidecar_path, write_file
from ..weights.save import save_encoder, save_network
from .common import epochs_done, is_nan, scalars


class BestModel:
    """Saves the network whenever a validation of the training beats all before it; attach to the trainer.

    Validations outside of it, such as a federated client's of the averaged network, write nothing.

    MONAI's evaluator makes whatever the first validation gives its best metric, so a NaN there (a class absent from a
    small validation list) would never be beaten. Here a NaN is never the best: the evaluator keeps what was best
    before.

    Args:
        evaluator: Validates the network, which it holds; it must have a key metric.
        path_pt: For the state dict, e.g. `models/model.pt`; the same weights go to a `.safetensors` beside it.
        sidecar: What the JSON file beside the weights should say; epoch and metric are added, and `finished`: whether
            the training has ended, not been stopped.
    """

    def __init__(
        self, evaluator: Evaluator, path_pt: str | os.PathLike[str], sidecar: Mapping[str, Any] | None = None
    ) -> None:
        self.evaluator = evaluator
        self.path_pt = Path(path_pt)
        self.sidecar = dict(sidecar or {})
        self._training = False
        self._before: tuple[Any, int] = (-1, -1)
        evaluator.add_event_handler(Events.STARTED, self._remember)
        evaluator.add_event_handler(Events.EPOCH_COMPLETED, self._compare)

    def attach(self, engine: Workflow) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.COMPLETED, self._end)

    def _begin(self, engine: Workflow) -> None:
        self._training = True

    def _end(self, engine: Workflow) -> None:
        self._training = False
        sidecar = read_sidecar(self.path_pt) if is_main() else None
        if sidecar is not None:
            write_file(sidecar_path(self.path_pt), json.dumps({**sidecar, "finished": True}, indent=2) + "\n")

    def _remember(self, engine: Workflow) -> None:
        if engine.state.key_metric_name is None:
            raise InputError(
                "BestModel needs an evaluator with 'key_val_metric': nothing says which epoch is the best."
            )
        self._before = (engine.state.best_metric, engine.state.best_metric_epoch)

    def _compare(self, engine: SupervisedEvaluator) -> None:
        state = engine.state
        if is_nan(state.best_metric):
            state.best_metric, state.best_metric_epoch = self._before
            say(f"The validation metric {state.key_metric_name} is NaN in epoch {state.epoch}: not taken as the best.")
        elif state.best_metric_epoch == state.epoch and self._training and is_main():
            self._write(engine)

    def _write(self, engine: SupervisedEvaluator) -> None:
        best = scalars({"value": engine.state.best_metric}).get("value")
        content = {"epoch": engine.state.epoch, "validation": {engine.state.key_metric_name: best}, "finished": False}
        save_network(self.path_pt, engine.network, {**self.sidecar, **content})


class SaveEncoder:
    """Writes the encoder during pre-training, every `interval` epochs and at the end; attach to the trainer.

    After a signal (`Checkpoint`) the last written encoder stays: the end of the resumed run replaces it.

    Args:
        network: Holds a ViT at `.encoder` or `.vit`.
        path: `<name>.safetensors`; the sidecar becomes `<name>.json`.
        sidecar: What it should say (normalisation, data fingerprint, ...); the epoch is added, and `finished`: whether
            the training has ended.
        interval: Epochs between two writes; 0 writes at the end only.
    """

    def __init__(
        self,
        network: nn.Module,
        path: str | os.PathLike[str],
        sidecar: Mapping[str, Any] | None = None,
        interval: int = 0,
    ) -> None:
        self.network = network
        self.path = Path(path)
        self.sidecar = dict(sidecar or {})
        self.interval = int(interval)

    def attach(self, engine: Workflow) -> None:
        """Attach to the trainer."""
        if self.interval > 0:
            engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self._write)
        engine.add_event_handler(Events.COMPLETED, self._write, finished=True)

    def _write(self, engine: Workflow, finished: bool = False) -> None:
        if is_main():
            content = {**self.sidecar, "epoch": epochs_done(engine), "finished": finished}
            save_encoder(self.path, find_vit(unwrap(self.network)), content)
