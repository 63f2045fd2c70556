"""MSMAE in miniature, for tests of its handlers and pictures."""

from pathlib import Path
from typing import Any

import torch
from bundle_runtime.data.image_dataset import ImageDataset
from bundle_runtime.data.loading import EpochSampler
from bundle_runtime.data.loading import loader as batch_loader
from bundle_runtime.engine.attention_refresh import RefreshAttention
from bundle_runtime.engine.checkpoint import Checkpoint
from custom_components.attention_maps import AttentionMaps
from custom_components.augment import Normalise, Pipeline, RandomFlip, RandomResizedCrop, Resize
from custom_components.losses.supervised import SupervisedReconstructionLoss
from custom_components.networks.ms_mae import MSMAE
from custom_components.training.picture_batches import MappedPictureBatch
from custom_components.training.step import TrainingStep
from encoders import on_vit
from monai.engines import SupervisedTrainer

COUNT = 10


class Pixels:
    def __init__(self, items: Any) -> None:
        self.items = items
        self.images = torch.randint(0, 256, (COUNT, 3, 40, 40), generator=torch.Generator().manual_seed(0)).byte()

    def __len__(self) -> int:
        return COUNT

    def rows(self, indices: Any) -> torch.Tensor:
        return self.images[torch.as_tensor(indices)]


class Training:
    """MSMAE in miniature: 5 epochs of 5 iterations, masking by maps from the third on, refreshed every second."""

    def __init__(self, folder: Path, resume: bool = False, interval: int = 2, extra: Any = (), epochs: int = 5) -> None:
        torch.manual_seed(0)
        self.network = on_vit(
            MSMAE, 3, 32, 8, hidden_size=32, mlp_dim=64, num_layers=2, num_heads=2, spatial_dims=2, num_classes=2,
            decoder_size=32, decoder_layers=1, decoder_heads=2,
        )  # fmt: skip
        items = [{"image": f"{i}.png", "file": f"{i}.png", "case": str(i), "label": i % 2} for i in range(COUNT)]
        augmentation = Pipeline([RandomResizedCrop(32, (0.2, 1.0)), RandomFlip(), Normalise(0.5, 0.25)])
        data = ImageDataset(Pixels(items), ["a", "b"], "multi_class", draws=augmentation.draws)
        self.maps = AttentionMaps(items, self.network.grid)
        self.refresh = RefreshAttention(
            self.maps, data, Pipeline([Resize(32), Normalise(0.5, 0.25)]), interval, first=2,
            history_path=folder / "attention_maps.csv",
        )  # fmt: skip
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-3)
        step = TrainingStep(micro_batch=1)
        self.lengths: list[int] = []
        self.network.decoder_norm.register_forward_hook(
            lambda module, args, result: self.lengths.append(result.shape[1])
        )
        self.trainer = SupervisedTrainer(
            device=torch.device("cpu"), max_epochs=epochs, network=self.network, optimizer=optimizer, decollate=False,
            train_data_loader=batch_loader(data, 2, EpochSampler(data)), iteration_update=step,
            loss_function=SupervisedReconstructionLoss("multi_class"),
            prepare_batch=MappedPictureBatch(augmentation, self.maps),
            train_handlers=[self.refresh, Checkpoint(folder / "state.pt", resume, step=step),
                            *extra],
        )  # fmt: skip

    def run(self) -> "Training":
        self.trainer.run()
        return self

    def result(self) -> tuple[dict[str, Any], Any, int]:
        return {k: v.tolist() for k, v in self.network.state_dict().items()}, self.maps.values.tolist(), self.maps.epoch
