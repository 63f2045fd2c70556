import pytest
import torch
from custom_components.errors import InputError
from custom_components.losses.distillation import SelfDistillationLoss
from custom_components.networks.find import find_vit
from custom_components.networks.masked_autoencoder import MaskedAutoencoder, ReconstructionLoss
from custom_components.networks.sd_mae import Projector, SelfDistillationMAE
from custom_components.training.optim import param_groups
from encoders import on_vit
from torch import Tensor, nn
from torch.nn import functional as F

SMALL = {
    "hidden_size": 24, "mlp_dim": 48, "num_layers": 2, "num_heads": 2, "decoder_size": 16, "decoder_layers": 2,
    "decoder_heads": 2, "mask_ratio": 0.6, "spatial_dims": 2, "class_token": False, "norm_pix_per_channel": True,
}  # fmt: skip
HEADS = {"prototypes": 32, "projector_size": 20, "bottleneck": 8}


def tiny(**options: object) -> SelfDistillationMAE:
    torch.manual_seed(0)
    return on_vit(SelfDistillationMAE, 3, 32, 8, **{**SMALL, **HEADS, **options})


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def loss(network: SelfDistillationMAE, **options: object) -> SelfDistillationLoss:
    return SelfDistillationLoss(prototypes=32, teacher_grad=network.teacher_grad, **options)


def count(module: nn.Module) -> int:
    positions = sum(p.numel() for name, p in module.named_parameters() if name.endswith("position_embeddings"))
    return sum(p.numel() for p in module.parameters()) - positions


def test_sizes_of_the_paper() -> None:
    """36.3 M, of which the encoder 21.6 M and the decoder 1.93 M; 117 hidden of 196."""
    with torch.device("meta"):
        network = on_vit(
            SelfDistillationMAE, 3, 224, hidden_size=384, mlp_dim=1536, num_heads=6, decoder_size=192, decoder_layers=4,
            decoder_heads=3, mask_ratio=0.6, spatial_dims=2, class_token=False,
        )  # fmt: skip
    assert round(count(network) / 1e6, 1) == 36.3
    assert round(count(network.encoder) / 1e6, 1) == 21.6
    assert round(count(network.student_projector) / 1e6, 2) == 6.56
    assert round(count(network.teacher_projector) / 1e6, 2) == 6.16  # the released 6.17 has 4096 gains in it
    decoder = [network.decoder_blocks, network.decoder_norm, network.decoder_pred]
    assert round((sum(map(count, decoder)) + network.mask_token.numel()) / 1e6, 2) == 1.93
    assert network.decoder_embed.bias is None
    visible, hidden = network.split(torch.empty(1, 3, 224, 224), torch.rand(1, 196))
    assert (visible.shape[1], hidden.shape[1]) == (79, 117)


@pytest.mark.parametrize(("level", "shape"), [("image", (4, 32)), ("patch", (4, 7, 32))])
def test_logits_are_cosines(level: str, shape: tuple[int, ...]) -> None:
    output = tiny(level=level)(images())
    for logits in (output.student, output.teacher):
        assert logits.shape == shape
        assert logits.abs().max() <= 1 + 1e-6
        assert logits.dtype == torch.float32


def test_image_level_is_the_mean_of_the_patch_level() -> None:
    image, noise = images(), torch.rand(4, 16)
    patch, whole = tiny(level="patch"), tiny(level="image")
    whole.load_state_dict(patch.state_dict())
    first, second = patch(image, noise), whole(image, noise)
    torch.testing.assert_close(first.student.mean(dim=1), second.student)
    torch.testing.assert_close(first.teacher.mean(dim=1), second.teacher)


def test_projector_agrees_with_weight_norm_of_torch() -> None:
    """The last map of DINO's head: weight-normalised, its gain fixed at 1, no bias."""
    torch.manual_seed(0)
    projector = Projector(12, 16, 6, 10)
    last = nn.utils.parametrizations.weight_norm(nn.Linear(6, 10, bias=False))
    last.parametrizations.weight.original0.data.fill_(1.0)
    last.parametrizations.weight.original1.data.copy_(projector.prototypes.data)
    tokens = torch.randn(3, 5, 12)
    expected = last(F.normalize(projector.mlp(tokens), dim=-1))
    torch.testing.assert_close(projector(tokens, average=False), expected)
    weights = torch.cat([p.flatten() for name, p in projector.mlp.named_parameters() if not name.endswith("bias")])
    assert weights.abs().max() <= 0.02
    assert all((p == 0).all() for name, p in projector.named_parameters() if name.endswith("bias"))


def test_prototypes_start_as_a_linear_map_of_torch_does() -> None:
    """As in the released code, whose own start is overwritten: rows of length 0.577, not 0.172."""
    torch.manual_seed(0)
    ours, map_ = Projector(384).prototypes.detach(), nn.Linear(256, 4096, bias=False).weight.detach()
    assert ours.std().item() == pytest.approx(map_.std().item(), rel=0.01)
    assert ours.abs().max().item() == pytest.approx(1 / 16, rel=1e-3)
    assert ours.norm(dim=1).mean().item() == pytest.approx(3**-0.5, rel=0.01)


def test_targets_are_those_of_the_released_code() -> None:
    """It normalises each colour of a patch in the range 0..1, by its unbiased deviation plus 1e-6."""
    std = [0.229, 0.224, 0.225]
    network = tiny(norm_pix_variance="unbiased", pixel_std=std)
    raw = torch.rand(4, 3, 32, 32) * 0.01 + 0.5  # little contrast: where the 1e-6 is counts
    image = (raw - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    output = network(image, torch.rand(4, 16))
    patches = raw.double().unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).reshape(4, 16, 3, 64)
    wanted = ((patches - patches.mean(-1, keepdim=True)) / (patches.std(-1, keepdim=True) + 1e-6)).flatten(2).float()
    torch.testing.assert_close(
        output.target, wanted.gather(1, output.hidden[..., None].expand(-1, -1, 192)), atol=2e-4, rtol=0
    )


def test_without_distillation_it_is_a_masked_autoencoder() -> None:
    network, plain = tiny(distil=False), on_vit(MaskedAutoencoder, 3, 32, 8, **SMALL, decoder_embed_bias=False)
    plain.load_state_dict(network.state_dict())
    image, noise = images(), torch.rand(4, 16)
    output = network(image, noise)
    assert output.student is None
    assert output.teacher is None
    assert torch.equal(output.pred, plain(image, noise).pred)


def test_reconstruction_does_not_depend_on_the_distillation() -> None:
    """Its last decoder block also computes the visible tokens; the hidden ones must come out the same."""
    network, plain = tiny(), tiny(distil=False)
    plain.load_state_dict(network.state_dict(), strict=False)
    image, noise = images(), torch.rand(4, 16)
    ours, theirs = network(image, noise), plain(image, noise)
    torch.testing.assert_close(ours.pred, theirs.pred)
    assert torch.equal(ours.target, theirs.target)
    filled, _ = network.reconstruct(image, noise)
    assert filled.shape == image.shape


def test_a_detached_teacher_gets_no_gradient_and_no_place_in_the_optimiser() -> None:
    """The released code lets gradients through the teacher."""
    network = tiny()
    output = network(images())
    (loss(network).distillation(output)).backward()
    touched = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    assert touched == {"encoder", "student_projector"}
    optimised = {id(p) for group in param_groups(network, 1e-3, 0.05) for p in group["params"]}
    assert not optimised & {id(p) for p in network.teacher_projector.parameters()}
    assert {id(p) for p in network.student_projector.parameters()} <= optimised


def test_released_form_has_gradients_in_the_teacher() -> None:
    network = tiny(teacher_grad=True)
    loss(network).distillation(network(images())).backward()
    assert all(p.grad is not None and p.grad.any() for p in network.teacher_projector.parameters())
    assert network.decoder_norm.weight.grad.any()


@pytest.mark.parametrize("teacher_grad", [False, True])
@pytest.mark.parametrize("level", ["image", "patch"])
def test_every_trainable_parameter_gets_a_gradient(teacher_grad: bool, level: str) -> None:
    """What DistributedDataParallel asks for; the released code rules a detached teacher out for this reason."""
    network = tiny(teacher_grad=teacher_grad, level=level)
    loss(network)(network(images())).backward()
    missing = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []
    frozen = {name.split(".")[0] for name, p in network.named_parameters() if not p.requires_grad}
    assert ("teacher_projector" in frozen) is not teacher_grad


def test_pixels_of_visible_patches_have_no_part_in_the_reconstruction_loss() -> None:
    network = tiny()
    image = images().requires_grad_()
    noise = torch.rand(4, 16)
    output = network(image, noise)
    assert output.pred.shape[1] == output.hidden.shape[1] == 9
    target = network.target(image.detach(), network.split(image, noise)[1])
    torch.testing.assert_close(output.target.detach(), target)


def test_works_under_bf16_autocast_with_logits_in_float32() -> None:
    network = tiny()
    with torch.autocast("cpu", torch.bfloat16):
        output = network(images())
    assert output.student.dtype == output.teacher.dtype == torch.float32
    value = loss(network)(output)
    value.backward()
    assert value.isfinite()


def test_class_token_is_left_out_of_the_distillation() -> None:
    output = tiny(class_token=True, level="patch")(images())
    assert output.student.shape == (4, 7, 32)


def test_released_positions_and_encoder_export() -> None:
    network = tiny(pos_embed_type="sinusoid_1d")
    assert network.encoder.pos_embed_type == "sinusoid_1d"
    assert find_vit(network) is network.encoder
    assert not network.encoder.patch_embedding.position_embeddings.requires_grad
    with pytest.raises(InputError, match="pos_embed_type of the autoencoder is 'learnable'"):
        tiny(pos_embed_type="learnable")


def test_unknown_level_is_refused() -> None:
    with pytest.raises(InputError, match="level of the distillation is 'token'"):
        tiny(level="token")


def test_plain_loss_reads_the_output_as_well() -> None:
    output = tiny()(images())
    expected = F.mse_loss(output.pred, output.target)
    torch.testing.assert_close(ReconstructionLoss()(output), expected)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["random", "block"])
def test_compiles_without_a_break(strategy: str) -> None:
    """Both passes as one graph each; no C++ compiler is called."""
    network = tiny(mask_strategy=strategy)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    image, noise = images(), torch.rand(4, 16)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = compiled(image, noise), network(image, noise)
    torch.testing.assert_close(found.student, expected.student, rtol=1e-2, atol=1e-2)
    loss(network)(found).backward()
    assert network.student_projector.prototypes.grad.isfinite().all()
