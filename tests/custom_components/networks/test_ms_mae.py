import pytest
import torch
from custom_components.errors import InputError
from custom_components.losses.supervised import SupervisedReconstructionLoss
from custom_components.masking import split_order, weighted_order
from custom_components.networks.ms_mae import MSMAE
from custom_components.networks.vit import patchify, unpatchify
from encoders import on_vit

SIZES = {
    "hidden_size": 32, "mlp_dim": 64, "num_layers": 2, "num_heads": 2, "decoder_size": 32, "decoder_layers": 1,
    "decoder_heads": 2,
}  # fmt: skip


def tiny(**changes: object) -> MSMAE:
    torch.manual_seed(0)
    options = {"num_classes": 5, **SIZES, **changes}
    return on_vit(
        MSMAE, 3, options.pop("img_size", 56), 4, spatial_dims=2, **options
    )  # 14 x 14 patches, as in the paper


def test_parameter_count_of_the_paper() -> None:
    """Encoder of ViT-B/16 with class token, decoder 512 x 8 x 16, class head of 5."""
    with torch.device("meta"):
        network = on_vit(MSMAE, 3, 224, spatial_dims=2, num_classes=5)
    encoder = sum(p.numel() for p in network.encoder.parameters() if p.requires_grad)
    assert encoder == 85_647_360
    assert network.decoder_pred.out_features == 768
    assert network.head is not None
    assert sum(p.numel() for p in network.head.parameters()) == 768 * 5 + 5


@pytest.mark.parametrize(("weights", "length", "scored"), [(None, 197, 147), (torch.ones(2, 196), 138, 88)])
def test_length_of_the_decoder_before_and_after_the_warm_up(
    weights: torch.Tensor | None, length: int, scored: int
) -> None:
    network = tiny()
    seen: list[int] = []
    network.decoder_blocks[0].register_forward_hook(lambda block, args, result: seen.append(args[0].shape[1]))
    network.decoder_blocks.append(network.decoder_blocks[0])  # the last block is not called but by `last_rows`
    output = network(torch.rand(2, 3, 56, 56), weights=weights)
    assert seen == [length]
    assert output.pred.shape == output.target.shape == (2, scored, 48)
    assert output.logits is not None
    assert output.logits.shape == (2, 5)


def test_masked_patches_are_predicted_and_thrown_ones_seen_by_nobody() -> None:
    """L_rec has no gradient off the masked patches, and the output does not depend on thrown or masked pixels."""
    network = tiny().eval()
    image, noise, weights = torch.rand(1, 3, 56, 56), torch.rand(1, 196), torch.rand(1, 196)
    output = network(image, noise, weights)
    split = split_order(weighted_order(weights, noise), 0.45, 0.3)
    assert torch.equal(output.hidden, split.masked)
    patches = patchify(image, [4, 4]).clone()
    patches[0, split.thrown[0]] = torch.rand(59, 48)
    changed = network(unpatchify(patches, [4, 4], [14, 14]), noise, weights)
    assert torch.equal(changed.pred, output.pred)
    assert torch.equal(changed.target, output.target)  # raw pixels of the masked patches, which are as before
    assert torch.equal(output.target[0], patchify(image, [4, 4])[0, split.masked[0]])


def test_hot_patches_are_masked_and_cold_ones_visible() -> None:
    network = tiny()
    weights = torch.full((1, 196), 0.02)
    weights[:, :40] = 1.0
    hits = torch.stack([(network(torch.rand(1, 3, 56, 56), weights=weights).hidden < 40).sum() for _ in range(20)])
    assert hits.float().mean() > 36  # 18 of 40 if it were uniform


def test_pictures_use_the_masking_of_the_warm_up() -> None:
    network = tiny().eval()
    image = torch.rand(1, 3, 56, 56)
    filled, mask = network.reconstruct(image)
    assert mask.mean().item() == pytest.approx(0.75)
    assert torch.equal(filled[~mask.bool().expand_as(image)], image[~mask.bool().expand_as(image)])


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(InputError, match="class token"):
        tiny(class_token=False)
    with pytest.raises(InputError, match=r"^mask_strategy of MSMAE is 'block'; choose one of attention, random\.$"):
        tiny(mask_strategy="block")
    with pytest.raises(InputError, match=r"4 patches.*visible"):
        tiny(img_size=8, mask_ratio=0.5, throw_ratio=0.5)
    with pytest.raises(InputError, match=r"^warmup_mask_ratio is 1\.0; it must be above 0 and below 1"):
        tiny(warmup_mask_ratio=1.0)


def test_without_a_class_loss_it_needs_no_labels_and_no_head() -> None:
    network = tiny(num_classes=0)
    output = network(torch.rand(2, 3, 56, 56))
    assert output.logits is None
    loss = SupervisedReconstructionLoss("multi_class", cls_weight=0.0)(output)
    assert loss == torch.nn.functional.mse_loss(output.pred, output.target)
    with pytest.raises(InputError, match="cls_loss_weight"):
        SupervisedReconstructionLoss("multi_class")(output, torch.tensor([0, 1]))


def test_every_parameter_learns() -> None:
    """Distributed training needs a gradient for each, before and after the warm-up."""
    network = tiny()
    for weights in (None, torch.rand(2, 196)):
        network.zero_grad(set_to_none=True)
        SupervisedReconstructionLoss("multi_class")(
            network(torch.rand(2, 3, 56, 56), weights=weights), torch.tensor([0, 1])
        ).backward()
        assert all(p.grad is not None for p in network.parameters() if p.requires_grad)
