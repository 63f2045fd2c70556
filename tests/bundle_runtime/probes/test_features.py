"""The probe on frozen features, against scikit-learn's own pipeline and neighbours."""

import numpy as np
import pytest
import torch
from bundle_runtime.data.image_dataset import ImageDataset
from bundle_runtime.data.loading import loader as batch_loader
from bundle_runtime.probes.features import evaluating, extract_features, probe_predictions, probe_scores
from custom_components.augment import Normalise, Pipeline
from custom_components.errors import InputError
from custom_components.networks.classifier import ViTClassifier
from custom_components.networks.vit import ViT
from encoders import on_vit
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

NAMES = ["mass", "nodule", "hernia"]


def features(task: str, count: int = 120, seed: int = 0, unknown: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Features with very different scales, of which some tell the label."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(count, 8)).astype(np.float32)
    if task == "multi_class":
        y = generator.integers(0, 3, count)
        x[np.arange(count), y] += 1.5
    else:
        y = (generator.random((count, 3)) < 0.4).astype(np.float32)
        x[:, :3] += 1.5 * y
        y[generator.random(y.shape) < unknown] = np.nan
    return x * 10.0 ** np.arange(-3, 5), y


def test_logistic_regression_a_finding_on_the_rows_that_know_it() -> None:
    (x, y), (val, truth) = features("multi_label", unknown=0.2), features("multi_label", seed=1, unknown=0.2)
    found = probe_scores(x, y, val, truth, "multi_label", NAMES)
    scaler = StandardScaler().fit(x)
    for column, name in enumerate(NAMES):
        known, scored = np.isfinite(y[:, column]), np.isfinite(truth[:, column])
        model = LogisticRegression(max_iter=1000).fit(scaler.transform(x)[known], y[known, column])
        expected = roc_auc_score(truth[scored, column], model.decision_function(scaler.transform(val))[scored])
        assert found[name] == pytest.approx(expected, abs=2e-3)
        assert found[name] > 0.7
    assert found["macro_auc"] == pytest.approx(np.mean([found[name] for name in NAMES]))


def test_logistic_regression_over_several_classes() -> None:
    (x, y), (val, truth) = features("multi_class"), features("multi_class", seed=1)
    found = probe_scores(x, y, val, truth, "multi_class", NAMES)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x, y)
    assert found["accuracy"] == pytest.approx(model.score(val, truth), abs=0.01)
    expected = roc_auc_score(truth, model.predict_proba(val), multi_class="ovr", average=None)
    assert [found[name] for name in NAMES] == pytest.approx(list(expected), abs=2e-3)


@pytest.mark.parametrize("task", ["multi_label", "multi_class"])
def test_neighbours_count_by_their_cosine(task: str) -> None:
    (x, y), (val, _) = features(task), features(task, seed=1)
    scores = probe_predictions(x, y, val, task, 3, "knn")
    train, other = ((part - x.mean(0)) / x.std(0) for part in (x, val))
    train, other = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (train, other))
    cosine = other @ train.T
    nearest = np.argsort(-cosine, axis=1)[:, :20]
    weights = np.exp(np.take_along_axis(cosine, nearest, axis=1) / 0.07)
    shown = (y[:, None] == np.arange(3)) if task == "multi_class" else y
    expected = np.einsum("mk,mkc->mc", weights, shown[nearest]) / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores, expected, atol=2e-4)


def test_neighbours_with_unknown_labels_are_the_nearest_that_know() -> None:
    (x, y), (val, _) = features("multi_label", unknown=0.5), features("multi_label", seed=1)
    scores = probe_predictions(x, y, val, "multi_label", 3, "knn")
    mean, std = x.mean(0), x.std(0)
    for column in range(3):
        known = np.isfinite(y[:, column])
        train = (x[known] - mean) / std
        model = KNeighborsClassifier(20, metric="cosine", weights=lambda distance: np.exp(-distance / 0.07))
        expected = model.fit(train, y[known, column]).predict_proba((val - mean) / std)[:, 1]
        np.testing.assert_allclose(scores[:, column], expected, atol=2e-3)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), method=st.sampled_from(["logistic", "knn"]), unknown=st.sampled_from([0.0, 0.3]))
def test_scores_do_not_depend_on_the_units_of_the_features(seed: int, method: str, unknown: float) -> None:
    (x, y), (val, truth) = features("multi_label", 40, seed, unknown), features("multi_label", 40, seed + 1)
    first = probe_scores(x, y, val, truth, "multi_label", NAMES, method)
    assert probe_scores(x, y, val, truth, "multi_label", NAMES, method) == first  # the same numbers again
    other = probe_scores(x * 4 + 64, y, val * 4 + 64, truth, "multi_label", NAMES, method)
    for name, value in first.items():
        assert (value is None) == (other[name] is None)
        if value is not None and method == "logistic":
            assert other[name] == pytest.approx(value, abs=0.05)


@pytest.mark.parametrize("method", ["logistic", "knn"])
def test_a_class_that_is_not_shown_is_named_and_never_counts_as_zero(method: str) -> None:
    (x, y), (val, truth) = features("multi_label"), features("multi_label", seed=1)
    y[:, 1], truth[:, 2] = 0, 0
    found = probe_scores(x, y, val, truth, "multi_label", NAMES, method)
    assert (found["nodule"], found["hernia"]) == (None, None)
    assert found["macro_auc"] == found["mass"]
    y[:] = 1
    assert np.isnan(probe_scores(x, y, val, truth, "multi_label", NAMES, method)["macro_auc"])  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["logistic", "knn"])
def test_a_class_that_training_lacks_is_never_predicted(method: str) -> None:
    (x, y), (val, truth) = features("multi_class"), features("multi_class", seed=1)
    kept = y != 1
    found = probe_scores(x[kept], y[kept], val, truth, "multi_class", NAMES, method)
    assert found["nodule"] is None
    assert 0.4 < found["accuracy"] < 0.75  # a third of the images cannot be right


def test_a_feature_that_never_changes_is_no_problem() -> None:
    (x, y), (val, truth) = features("multi_class"), features("multi_class", seed=1)
    x[:, -1] = val[:, -1] = 3.0
    assert probe_scores(x, y, val, truth, "multi_class", NAMES)["accuracy"] > 0.5


def test_settings_out_of_range() -> None:
    x, y = features("multi_class")
    with pytest.raises(InputError, match="method is 'svm'"):
        probe_predictions(x, y, x, "multi_class", 3, "svm")
    with pytest.raises(InputError, match="task is 'both'"):
        probe_predictions(x, y, x, "both", 3)


class Rows:
    """Random pictures in memory."""

    def __init__(self, items: list[dict[str, object]]) -> None:
        self.items, count = items, len(items)
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randint(0, 256, (count, 1, 16, 16), dtype=torch.uint8, generator=generator)

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, indices: object) -> torch.Tensor:
        return self.images[torch.as_tensor(np.asarray(indices))]


def dataset(task: str | None = "multi_class", count: int = 7) -> ImageDataset:
    items = [{"image": f"{number}.png", "label": number % 3} for number in range(count)]
    return ImageDataset(Rows(items), NAMES, task)


PIPELINE = Pipeline([Normalise(0.5, 0.25)])


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_features_are_those_of_the_encoder(pool: str) -> None:
    sizes = {"hidden_size": 24, "mlp_dim": 32, "num_layers": 2, "num_heads": 2, "drop_path_rate": 0.5}
    network = on_vit(ViTClassifier, 1, 16, 8, num_classes=3, spatial_dims=2, **sizes).train()
    network.vit.blocks[0].eval()  # frozen: must stay so
    data = dataset()
    found, labels, index = extract_features(network, batch_loader(data, 3), PIPELINE, "cpu", pool)
    assert network.training
    assert network.vit.blocks[1].training
    assert not network.vit.blocks[0].training
    with torch.no_grad():
        tokens = network.eval().vit((data.cache.images.float() / 255 - 0.5) / 0.25).tokens  # type: ignore[attr-defined]
    expected = tokens[:, 0] if pool == "cls" else tokens[:, 1:].mean(1)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    assert found.dtype == np.float32
    assert labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert index.tolist() == list(range(7))


def test_an_encoder_without_class_token() -> None:
    network = ViT(1, 16, 8, 24, 32, 1, 2, spatial_dims=2, class_token=False).eval()
    data = dataset()
    found, _, _ = extract_features(network, batch_loader(data, 7), PIPELINE, "cpu")
    with torch.no_grad():
        expected = network((data.cache.images.float() / 255 - 0.5) / 0.25).tokens.mean(1)  # type: ignore[attr-defined]
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    with pytest.raises(InputError, match="no class token"):
        extract_features(network, batch_loader(data, 7), PIPELINE, "cpu", "cls")


def test_images_without_labels() -> None:
    network = ViT(1, 16, 8, 24, 32, 1, 2, spatial_dims=2)
    with pytest.raises(InputError, match="needs labels"):
        extract_features(network, batch_loader(dataset(None), 7), PIPELINE, "cpu")
    with pytest.raises(InputError, match="pool is 'max'"):
        extract_features(network, [], PIPELINE, "cpu", "max")


def test_modes_come_back_after_an_error() -> None:
    network = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    modes: list[bool] = []
    network[0].register_forward_hook(lambda module, *_: modes.append(module.training))
    with pytest.raises(TypeError), evaluating(network):
        network(None)
    with evaluating(network):
        network(torch.zeros(1))
    assert modes == [False]
    assert (network.training, network[0].training, network[1].training) == (True, True, False)
