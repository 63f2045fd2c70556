import torch
from ignite.engine import Engine

from bundle_runtime.engine.batches import ImageBatch
from bundle_runtime.engine.validation_step import ValidationStep, lower_is_better
from custom_components.losses import ReconstructionLoss
from custom_components.networks.masked_autoencoder import MaskedAutoencoder


def engine_with(network: torch.nn.Module, step: ValidationStep) -> Engine:
    engine = Engine(step)
    engine.network, engine.prepare_batch, engine.non_blocking = network, ImageBatch(), False
    engine.state.device = torch.device("cpu")
    return engine


def test_same_masks_every_time_and_the_training_stream_is_untouched() -> None:
    network = MaskedAutoencoder(
        1, 16, 8, 24, 48, 1, 2, decoder_size=18, decoder_layers=1, decoder_heads=2, mask_ratio=0.5
    )
    batches = [{"image": torch.rand(2, 1, 16, 16, 16)}]
    for amp in (False, "bf16"):
        step = ValidationStep(ReconstructionLoss(), amp=amp, seed=3)
        torch.manual_seed(5)
        first = engine_with(network, step).run(batches).output["loss"]
        after = torch.rand(1)
        torch.manual_seed(99)
        assert torch.equal(engine_with(network, step).run(batches).output["loss"], first)
        torch.manual_seed(5)
        assert torch.equal(torch.rand(1), after)


def test_lower_is_better() -> None:
    assert lower_is_better(2.0, -1)  # MONAI's starting value
    assert lower_is_better(0.5, 0.6)
    assert not lower_is_better(0.7, 0.6)
