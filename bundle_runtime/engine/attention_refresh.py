"""Look at the whole training set now and then: where does the class token attend?"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from custom_components.attention_maps import AttentionMaps
from custom_components.augment import Pipeline
from custom_components.distributed import is_main, rank_and_world, say
from custom_components.errors import InputError, one_of
from custom_components.masking import attention_weights
from custom_components.networks.find import find_vit, unwrap
from custom_components.networks.vit import ViT
from custom_components.training.step import autocast
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.engines.workflow import Workflow
from torch import Tensor, nn

from ..data.image_dataset import ImageDataset
from ..data.loading import loader as batch_loader
from ..files import write_csv
from ..probes.features import evaluating
from .common import keep

METRIC = "attention_map_std"
SOURCES = ("attention", "uniform")
_COLUMNS = ("before_epoch", "seconds", "share_of_epoch", "map_std")


class RefreshAttention:
    """Refreshes the attention maps before some epochs, and switches masking by them on; attach to the trainer.

    The trainer's network has a ViT at `.vit` or `.encoder`; the wrapper of a distributed run is looked through.

    Before epoch `first` (counted from 0) and every `interval` epochs behind it one forward pass over the training set
    gives new maps. MSMAE (arXiv 2305.05871) pre-trains with first 41 and interval 40 (so after its epochs 40, 80, ...)
    and fine-tunes with 0 and 20. The maps, and what a refresh cost, are part of the checkpoint: a resumed run does not
    refresh again in the middle of an epoch, and its maps are those of the uninterrupted one.

    The spread of the maps (standard deviation over the patches, mean over the images) is in
    `engine.state.metrics["attention_map_std"]`; seconds and their share of the epoch's time are printed and are in
    `history_path`. An epoch that was interrupted has no share.

    Args:
        maps: what is refreshed.
        dataset: the training images, in the order of the maps.
        pipeline: what brings a whole image to the network's size, without random numbers.
        interval: epochs between refreshes; 0 never refreshes.
        source: what decides on the patches: "attention", or "uniform": nothing is refreshed, the maps stay even.
        first: epochs before the maps are used, during which `maps.active` is False.
        amp: as in training.
        batch_size: images at a time.
        history_path: CSV file with a row a refresh; None writes none.

    Raises:
        InputError: a negative number of epochs, or another source.
    """

    def __init__(
        self,
        maps: AttentionMaps,
        dataset: ImageDataset,
        pipeline: Pipeline,
        interval: int,
        first: int = 0,
        source: str = "attention",
        amp: str | bool = "off",
        batch_size: int = 64,
        history_path: str | os.PathLike[str] | None = None,
    ) -> None:
        one_of("mask_source", source, SOURCES)
        if interval < 0 or first < 0:
            raise InputError(
                f"refresh_interval is {interval} and mask_warmup_epochs is {first}; both must be 0 epochs or more."
            )
        self.maps, self.dataset, self.pipeline = maps, dataset, pipeline
        self.interval, self.first = int(interval) if source == "attention" else 0, int(first)
        self.amp, self.batch_size = amp, batch_size
        self.history_path = None if history_path is None else Path(history_path)
        self.rows: list[dict[str, Any]] = []
        self._epoch_start = 0.0
        self._timed = 0  # the epoch before which this process refreshed the maps

    def attach(self, engine: Workflow) -> None:
        """Attach to the trainer, before handlers that log its metrics."""
        keep(engine, "attention_maps", self)
        engine.add_event_handler(Events.STARTED, self._started)
        engine.add_event_handler(Events.EPOCH_STARTED, self._epoch_started)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch_completed)

    def due(self, epoch: int) -> bool:
        """Whether the maps are refreshed before this epoch, counted from 0."""
        return self.interval > 0 and epoch >= self.first and (epoch - self.first) % self.interval == 0

    def _started(self, engine: Workflow) -> None:
        epochs = engine.state.max_epochs
        if self.interval and epochs is not None and epochs <= self.first:
            say(
                f"WARNING: max_epochs is {epochs} and mask_warmup_epochs is {self.first}, so attention never decides "
                "what is masked; lower mask_warmup_epochs (the paper: 41 of 300 epochs)."
            )

    def _epoch_started(self, engine: SupervisedTrainer) -> None:
        self._epoch_start = time.monotonic()
        engine.state.metrics.pop(METRIC, None)
        self.maps.active = engine.state.epoch > self.first
        # A run that goes on inside an epoch has its maps from the checkpoint.
        if self.due(engine.state.epoch - 1) and self.maps.epoch != engine.state.epoch:
            self._refresh(engine)

    def _refresh(self, engine: SupervisedTrainer) -> None:
        device = torch.device(engine.state.device or "cpu")
        # A data loader draws from the random state when it is iterated.
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            found = compute_maps(unwrap(engine.network), self.dataset, self.pipeline, device, self.amp, self.batch_size)
        self.maps.values.copy_(found)
        self.maps.epoch = engine.state.epoch
        spread = float(found.flatten(1).std(dim=1).mean())  # waits for the device: the seconds are those of the work
        seconds = time.monotonic() - self._epoch_start
        self.rows.append({"before_epoch": engine.state.epoch, "seconds": round(seconds, 3), "map_std": spread})
        self._timed = engine.state.epoch
        say(
            f"Attention maps refreshed before epoch {engine.state.epoch} in {seconds:.1f} s: the weights of an image's "
            f"patches, from 0 to 1, spread by {spread:.4f} around their mean (standard deviation; near 0 all patches "
            "are alike, and masking is uniform)."
        )
        if spread < 1e-6:
            say(
                "WARNING: the attention maps are constant, so patches are masked uniformly; the class token attends to "
                "nothing in particular (MSMAE's released code stays in this state: its refresh gives ones)."
            )

    def _epoch_completed(self, engine: Workflow) -> None:
        row = self.rows[-1] if self.rows else {}
        if row.get("before_epoch") != engine.state.epoch:
            return
        engine.state.metrics[METRIC] = row["map_std"]
        if self._timed == engine.state.epoch:  # not where another process began the epoch: its time is not known
            whole = max(time.monotonic() - self._epoch_start, 1e-9)
            row["share_of_epoch"] = round(row["seconds"] / whole, 4)
            say(f"The refresh took {row['share_of_epoch']:.1%} of the time of epoch {engine.state.epoch}.")
        self._write()

    def _write(self) -> None:
        if is_main() and self.history_path is not None:
            write_csv(self.history_path, _COLUMNS, self.rows)

    def state_dict(self) -> dict[str, Any]:
        """The maps and what the refreshes cost."""
        return {"maps": self.maps.state_dict(), "rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from these; the CSV file is brought back to them.

        Raises:
            InputError: the maps belong to another training list.
        """
        self.maps.load_state_dict(state["maps"])
        self.rows = [dict(row) for row in state["rows"]]
        self._write()


@torch.no_grad()
def compute_maps(
    network: nn.Module,
    dataset: ImageDataset,
    pipeline: Pipeline,
    device: torch.device | str,
    amp: str | bool = "off",
    batch_size: int = 64,
) -> Tensor:
    """Attention of the class token in the last block for all images: whole images, all patches, evaluation mode.

    MSMAE (arXiv 2305.05871); see `attention_weights` for the sum over heads. In a distributed run every process takes a
    share of the images and all get all maps. Collective then.

    Args:
        network: a `ViT` with a class token, or a network that holds one at `.vit` or `.encoder`.
        dataset: the images.
        pipeline: what brings a whole image to the network's size; it draws no random numbers.
        device: where the network lies.
        amp: as in training.
        batch_size: images at a time.

    Returns:
        (N, gh, gw) float32 on the device.

    Raises:
        InputError: the encoder has no class token.
    """
    vit = find_vit(network)
    if not isinstance(vit, ViT) or not vit.class_token:
        raise InputError("Attention maps come from the class token, and the encoder has none; set class_token: true.")
    rank, world = rank_and_world()
    share = list(range(len(dataset)))[rank::world]
    share += share[-1:] * (-(-len(dataset) // world) - len(share)) if share else [0]  # as many in each process
    loader = batch_loader(dataset, batch_size, sampler=share)  # type: ignore[arg-type]
    parts = []
    with evaluating(vit):
        for batch in loader:
            images = pipeline(batch["image"].to(device, non_blocking=True), batch["random"][:, :0])
            with autocast(device, amp):
                attention = vit(images, attention_block=len(vit.blocks) - 1).class_attention
            parts.append(attention_weights(attention[:, :, 1:]))
    maps = torch.cat(parts)
    if world > 1:
        gathered = [torch.empty_like(maps) for _ in range(world)]
        dist.all_gather(gathered, maps.contiguous())
        maps = torch.stack(gathered, dim=1).flatten(0, 1)  # image i was the (i // world)-th of process i % world
    return maps[: len(dataset)].unflatten(1, vit.grid)
