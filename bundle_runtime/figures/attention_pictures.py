"""Pictures of what a classifier looked at, during an inference."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from custom_components.distributed import is_main
from custom_components.errors import one_of
from custom_components.networks.find import find_vit, unwrap
from custom_components.networks.token_classifier import TokenClassifier
from ignite.engine import Events
from monai.engines.workflow import Workflow
from torch import Tensor, nn

from ..data.schema import TASKS, Item
from ..data.subset import evenly
from ..probes.features import evaluating
from ..scores.classification import to_probabilities
from ..scores.collect import nothing_came, tensor_of
from .attention import attention_figure, attention_rollout, class_attention_map
from .pictures import listed_path

_TOP = 3


class AttentionPictures:
    """Draws pictures with what the network looked at: attention of the last block, and rollout; for an evaluator.

    The pictures that are drawn are spread evenly over the list; their likeliest findings are in the title. A network
    that runs on some patches only, and tells them by `kept_patches`, gets a panel of these; the attention is then that
    of a pass over all patches. The evaluator must have `decollate: false`, and its output `image`, `pred` and `index`
    (or the batch `index`). Files: `<folder>/<position in the list>_<case>.png`.

    Args:
        network: has a `ViT` at `.vit`.
        folder: where the PNG files go.
        class_names: the K findings or classes.
        items: of the data set.
        pictures: how many; 0 draws none.
        task: "multi_label" or "multi_class".
        head_fusion: of the last block's heads, see `class_attention_map`.
        pixels: `mean` and `std` by which the pictures were normalised; None stretches them, which changes colours.

    Raises:
        InputError: an unknown task.
    """

    def __init__(
        self,
        network: nn.Module,
        folder: str | Path,
        class_names: Sequence[str],
        items: Sequence[Item],
        pictures: int = 4,
        task: str = "multi_label",
        head_fusion: str = "mean",
        pixels: Mapping[str, Any] | None = None,
    ) -> None:
        self.network, self.folder, self.items = network, Path(folder), items
        self.class_names, self.task, self.head_fusion = list(class_names), one_of("task", task, TASKS), head_fusion
        self.positions = frozenset(evenly(len(items), pictures))
        self.pixels = None if pixels is None else dict(pixels)

    def attach(self, engine: Workflow) -> None:
        """Attach to the evaluator."""
        if self.positions:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._draw)

    def _draw(self, engine: Workflow) -> None:
        if nothing_came(engine) or not is_main():
            return
        for row, index in enumerate(tensor_of(engine, "index").tolist()):
            try:
                if index in self.positions:
                    self._draw_one(engine, row, index)
            except Exception as error:  # whatever it was, the predictions are worth more than their pictures
                inputs = getattr(engine.state, "inputs", None)
                if inputs is None:
                    raise
                inputs.lost(str(self.items[index]["case"]), str(self.items[index]["file"]), "drawn", error)

    def _draw_one(self, engine: Workflow, row: int, index: int) -> None:
        here = slice(row, row + 1)
        image = tensor_of(engine, "image", output_only=True)[here]
        values = torch.from_numpy(to_probabilities(tensor_of(engine, "pred", output_only=True)[here], self.task))[0]
        network = unwrap(self.network)
        last = class_attention_map(network, image, head_fusion=self.head_fusion)
        kept = self._kept(network, image, last.shape[1:])
        query = "class-token attention" if find_vit(network).class_token else "mean attention of the patches"
        whole = "" if kept is None else " (of a pass over all patches)"
        top = values.topk(min(_TOP, len(self.class_names)))
        found = zip(top.indices.tolist(), top.values.tolist(), strict=True)
        said = ", ".join(f"{self.class_names[column]} {value:.2f}" for column, value in found)
        titles = [f"{self.items[index].get('case', index)}\n{said}"]
        titles += [f"{query}, last block{whole}", f"attention rollout{whole}"]
        maps = [last[0], attention_rollout(network, image)[0]]
        path = listed_path(self.folder, self.items, index)
        attention_figure(image[0], maps, path, titles, self.pixels, None if kept is None else kept[0])

    @staticmethod
    def _kept(network: nn.Module, images: Tensor, grid: Sequence[int]) -> Tensor | None:
        """(B, gh, gw), 1 where a patch was used; None where all were or nobody knows."""
        if not isinstance(network, TokenClassifier):
            return None
        with evaluating(network), torch.no_grad():
            chosen = network.kept_patches(images)
        if chosen is None:
            return None
        used = images.new_zeros(len(images), math.prod(grid)).scatter(1, chosen, 1)
        return used.unflatten(1, list(grid))
