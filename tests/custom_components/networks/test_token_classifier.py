import pytest
import torch
from custom_components.errors import InputError
from custom_components.masking import attention_weights
from custom_components.networks.classifier import ViTClassifier
from custom_components.networks.token_classifier import TokenClassifier
from encoders import on_vit
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

SIZES = {"hidden_size": 32, "mlp_dim": 64, "num_layers": 4, "num_heads": 2, "spatial_dims": 2}


def tiny(**changes: object) -> TokenClassifier:
    torch.manual_seed(0)
    options = {**SIZES, **changes}
    return on_vit(TokenClassifier, 3, options.pop("img_size", 32), 4, num_classes=5, **options)


def tokens_in_blocks(network: TokenClassifier, *arguments: Tensor) -> list[int]:
    """Run the network and say how many tokens each block sees."""
    seen: list[int] = []
    hooks = [block.register_forward_pre_hook(lambda block, args: seen.append(args[0].shape[1]))
             for block in network.vit.blocks]  # fmt: skip
    network(*arguments)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("head", ["cls", "pool"])
def test_evaluation_on_all_tokens_is_the_plain_classifier(head: str) -> None:
    network, image = tiny(head=head).eval(), torch.rand(2, 3, 32, 32)
    pool = {"cls": "cls", "pool": "mean"}[head]
    plain = on_vit(ViTClassifier, 3, 32, 4, num_classes=5, pool=pool, norm_after_pool=head == "pool", **SIZES).eval()
    plain.load_state_dict(network.state_dict())
    assert torch.allclose(network(image), plain(image), atol=1e-6)
    assert torch.equal(network(image), network(image))  # the released code's evaluation is deterministic, too


def test_training_drops_three_quarters_and_evaluation_nothing() -> None:
    network, image = tiny(), torch.rand(2, 3, 32, 32)
    assert tokens_in_blocks(network.train(), image) == [17] * 4
    assert tokens_in_blocks(network.eval(), image) == [65] * 4
    assert tokens_in_blocks(tiny(train_tokens="all").train(), image) == [65] * 4


def test_training_keeps_what_matters_least() -> None:
    network = tiny().train()
    weights = torch.full((1, 64), 1e-4)
    weights[:, :32] = 1.0
    chosen: list[Tensor] = []
    network.vit.patch_embedding.register_forward_pre_hook(lambda module, args: chosen.append(args[1]))
    for _ in range(10):
        network(torch.rand(1, 3, 32, 32), weights)
    assert (torch.cat(chosen) >= 32).float().mean() > 0.9


@pytest.mark.parametrize("select_block", [0, 1, 3])
def test_kept_tokens_need_no_full_forward(select_block: int) -> None:
    network = tiny(eval_tokens="kept", keep_ratio=0.3, select_block=select_block).eval()
    seen = tokens_in_blocks(network, torch.rand(2, 3, 32, 32))
    assert seen == [65] * select_block + [21] * (4 - select_block)  # 20 patches of 64, rounded up, and the class token


def test_a_low_resolution_pass_chooses_too() -> None:
    network = tiny(eval_tokens="kept", keep_ratio=0.25, map_source="low_resolution").eval()
    assert tokens_in_blocks(network, torch.rand(2, 3, 32, 32)) == [17] * 3 + [17] * 4


@pytest.mark.parametrize("keep", ["high", "low"])
def test_the_kept_patches_are_those_of_the_early_block(keep: str) -> None:
    """Oracle: the class row that the encoder itself gives for that block."""
    network, image = (
        tiny(eval_tokens="kept", keep_ratio=0.25, keep=keep, select_block=1).eval(),
        torch.rand(3, 3, 32, 32),
    )
    chosen: list[Tensor] = []
    choose = network.choose
    network.choose = lambda weights, noise=None: chosen.append(choose(weights, noise)) or chosen[-1]
    network(image)
    weights = attention_weights(network.vit(image, attention_block=1).class_attention[:, :, 1:])
    order = weights.argsort(dim=1, descending=keep == "high")
    assert torch.equal(chosen[0].sort().values, order[:, :16].sort().values)


@pytest.mark.parametrize("map_source", ["early_block", "low_resolution"])
def test_the_patches_that_it_tells_are_those_that_an_evaluation_uses(map_source: str) -> None:
    network = tiny(eval_tokens="kept", keep_ratio=0.25, map_source=map_source, select_block=2).eval()
    image = torch.rand(3, 3, 32, 32)
    chosen: list[Tensor] = []
    choose = network.choose
    network.choose = lambda weights, noise=None: chosen.append(choose(weights, noise)) or chosen[-1]
    network(image)
    network.kept_patches(image)
    assert len(chosen) == 2
    assert torch.equal(chosen[0], chosen[1])
    assert tiny().kept_patches(image) is None
    assert tiny(eval_tokens="kept", keep="sample").kept_patches(image) is None  # drawn anew each time


def test_sampling_prefers_the_attended_ones() -> None:
    network = tiny(keep="sample", keep_ratio=0.25)
    weights = torch.full((50, 64), 1e-3)
    weights[:, :16] = 1.0
    assert (network.choose(weights) < 16).float().mean() > 0.9


@settings(deadline=None, max_examples=10)
@given(st.sampled_from(["early_block", "low_resolution"]), st.sampled_from(["cls", "pool"]))
def test_keeping_everything_changes_nothing(map_source: str, head: str) -> None:
    network = tiny(eval_tokens="kept", keep_ratio=1.0, map_source=map_source, head=head).eval()
    image = torch.rand(2, 3, 32, 32)
    kept = network(image)
    network.eval_tokens = "all"
    assert torch.allclose(kept, network(image), atol=1e-5)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_training_with_the_drop_of_inference(checkpointing: bool) -> None:
    network = tiny(train_tokens="kept", use_checkpoint=checkpointing).train()
    network(torch.rand(2, 3, 32, 32)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_the_class_token_head_trains_the_map_and_pooling_does_not() -> None:
    """With pooling nothing reads the class token behind the last block: its query there gets no gradient."""
    image = torch.rand(2, 3, 32, 32)
    for head, learns in (("cls", True), ("pool", False)):
        network = tiny(head=head).train()
        last = network.vit.blocks[-1]
        rows: list[Tensor] = []
        last.register_full_backward_hook(lambda block, into, out, rows=rows: rows.append(out[0]))
        nn.functional.cross_entropy(network(image), torch.tensor([0, 1])).backward()
        assert bool(rows[0][:, 0].abs().sum() > 0) is learns


@pytest.mark.parametrize("map_source", ["early_block", "low_resolution"])
def test_it_can_be_exported(map_source: str) -> None:
    network, image = tiny(eval_tokens="kept", map_source=map_source).eval(), torch.rand(2, 3, 32, 32)
    assert torch.allclose(torch.jit.script(network)(image), network(image), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": "mean"}, "head is 'mean'"),
        ({"eval_tokens": "kept", "keep_ratio": 0.0}, "keep_ratio"),
        ({"eval_tokens": "kept", "select_block": 4}, "0 to 3"),
        ({"drop_ratio": 1.0}, "drop_ratio"),
        ({"eval_tokens": "kept", "class_token": False, "head": "pool"}, "class_token"),
        ({"keep": "best"}, "high, low, sample"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny(**changes)


def test_an_odd_grid_cannot_be_halved() -> None:
    with pytest.raises(InputError, match="halved"):
        tiny(img_size=28, eval_tokens="kept", map_source="low_resolution")
