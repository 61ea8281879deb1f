"""Shallow heads are the regressions of the textbooks, for any subset of the fields."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.ensemble import RandomForestRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge

from omnifuse import fit
from omnifuse.schema import Modality, TaskKind
from omnifuse.tasks import ForestHead, KernelHead, LinearHead, Summary, penalised, readable_widths, shallow_names
from omnifuse.tasks import forest as forest_module
from omnifuse.tasks import kernel as kernel_module
from omnifuse.tasks import linear as linear_module

WIDTHS = {"table": 4, "text": 6}
ROWS = 200


@pytest.fixture(name="draw")
def _draw():
    return np.random.default_rng(0)


def summaries_of(draw, rows=ROWS, widths=None):
    found = {}
    for name, width in (widths or WIDTHS).items():
        values = torch.from_numpy(draw.normal(size=(rows, width)).astype(np.float32)) / math.sqrt(width)
        found[name] = Summary(values, torch.ones(rows, dtype=torch.bool))
    return found


def columns_of(summaries):
    """What the linear head regresses on: features about one wide."""
    return np.concatenate(
        [item.values.numpy() * math.sqrt(item.values.shape[1]) for item in summaries.values()], axis=1
    )


def classes_of(summaries, draw):
    features = columns_of(summaries)
    return (features @ draw.normal(size=(features.shape[1], 3)) + draw.normal(size=(len(features), 3))).argmax(axis=1)


def shares_of(labels):
    return torch.eye(3)[torch.from_numpy(labels)]


def test_the_linear_head_is_logistic_regression(draw):
    summaries = summaries_of(draw)
    labels = classes_of(summaries, draw)
    head = LinearHead(WIDTHS, 3, TaskKind.CLASSIFICATION)
    head.fit(summaries, shares_of(labels))
    reference = LogisticRegression(C=1.0, tol=1e-8, max_iter=2000).fit(columns_of(summaries), labels)
    ours = head(summaries, ROWS).softmax(dim=1).numpy()
    np.testing.assert_allclose(ours, reference.predict_proba(columns_of(summaries)), atol=1e-3)


def bags_of(draw, rows, width=400, words=12):
    """Bags of words of unit length: (rows, width), nearly all zeros."""
    values = np.zeros((rows, width), np.float32)
    for row in values:
        row[draw.choice(width, words, replace=False)] = draw.random(words) + 0.5
    return torch.from_numpy(values / np.linalg.norm(values, axis=1, keepdims=True))


def test_a_second_fit_trusts_words_as_far_as_the_first(draw, monkeypatch):
    first = {"text": Summary(bags_of(draw, 120), torch.ones(120, dtype=torch.bool))}
    more = {"text": Summary(bags_of(draw, 160), torch.ones(160, dtype=torch.bool))}
    labels = draw.integers(0, 3, 160)
    head = LinearHead({"text": 400}, 3, TaskKind.CLASSIFICATION)
    head.fit(first, shares_of(labels[:120]))
    length = head._scales["text"]
    monkeypatch.setattr(linear_module, "_chosen", lambda *_: pytest.fail("chosen again"))
    head.refit(more, shares_of(labels))
    features = more["text"].values.numpy() * length
    reference = LogisticRegression(C=1.0, tol=1e-8, max_iter=2000).fit(features, labels)
    ours = head(more, 160).softmax(dim=1).numpy()
    np.testing.assert_allclose(ours, reference.predict_proba(features), atol=1e-3)


@pytest.mark.parametrize("noise", [0.05, 8.0])
def test_bags_of_words_beside_cells_are_trusted_as_far_as_unlearnt_rows_say(noise, draw):
    """Logistic regression of words of the length, of those offered, that answers each fifth best from the others."""
    rows = 400
    words = bags_of(draw, rows)
    cells = torch.from_numpy(draw.normal(size=(rows, 4)).astype(np.float32)) / 2
    there = torch.ones(rows, dtype=torch.bool)
    summaries = {"table": Summary(cells, there), "text": Summary(words, there)}
    logits = words.numpy() @ draw.normal(size=(400, 3)) * 3 + noise * draw.normal(size=(rows, 3))
    labels = logits.argmax(axis=1)
    head = LinearHead({"table": 4, "text": 400}, 3, TaskKind.CLASSIFICATION)
    head.fit(summaries, shares_of(labels))

    def columns(length):
        return np.concatenate([cells.numpy() * 2, words.numpy() * length], axis=1)

    def loss_with(length):
        """The least held-out loss over how sharp the answers may be made."""
        answers = np.zeros((rows, 3))
        for held in (part == number for number in range(5)):
            tried = LogisticRegression(tol=1e-8, max_iter=2000).fit(columns(length)[~held], labels[~held])
            answers[held] = tried.decision_function(columns(length)[held])
        return min(
            -log_softmax(answers * factor, axis=1)[np.arange(rows), labels].sum() for factor in linear_module.SHARPNESS
        )

    part = np.random.default_rng(0).permutation(rows) % 5
    losses = {length: loss_with(length) for length in linear_module.LENGTHS}
    best = min(losses, key=losses.get)
    assert (best > 1.0) == (noise < 1.0)
    reference = LogisticRegression(tol=1e-8, max_iter=2000).fit(columns(best), labels)
    ours = head(summaries, rows).softmax(dim=1).numpy()
    np.testing.assert_allclose(ours, reference.predict_proba(columns(best)), atol=1e-3)


def test_of_two_bags_of_words_the_one_that_says_nothing_is_made_shorter(draw):
    rows = 400
    told, noise = bags_of(draw, rows), bags_of(draw, rows)
    there = torch.ones(rows, dtype=torch.bool)
    labels = (told.numpy() @ draw.normal(size=(400, 3))).argmax(axis=1)
    summaries = {"told": Summary(told, there), "noise": Summary(noise, there)}
    head = LinearHead({"told": 400, "noise": 400}, 3, TaskKind.CLASSIFICATION)
    head.fit(summaries, shares_of(labels))
    first, second = head._scales["told"], head._scales["noise"]
    assert first >= 1.0 > second / first
    columns = np.concatenate([told.numpy() * first, noise.numpy() * second], axis=1)
    reference = LogisticRegression(tol=1e-8, max_iter=2000).fit(columns, labels)
    ours = head(summaries, rows).softmax(dim=1).numpy()
    np.testing.assert_allclose(ours, reference.predict_proba(columns), atol=1e-3)


@pytest.mark.parametrize("kind", [TaskKind.TAGGING, TaskKind.REGRESSION])
def test_bags_of_words_without_zeros_left_out_are_answered_alike(kind, draw, monkeypatch):
    words, there = bags_of(draw, 60), torch.ones(60, dtype=torch.bool)
    target = torch.from_numpy(draw.normal(size=(60, 2)).astype(np.float32))
    target = (target > 0).float() if kind is TaskKind.TAGGING else target[:, :1]
    answers = []
    for share in (penalised.SPARSE_SHARE, 0.0):
        monkeypatch.setattr(penalised, "SPARSE_SHARE", share)
        monkeypatch.setattr(linear_module, "LENGTHS", (math.sqrt(400),))
        head = LinearHead({"text": 400}, target.shape[1], kind)
        head.fit({"text": Summary(words, there)}, target)
        answers.append(head({"text": Summary(words, there)}, 60).numpy())
    np.testing.assert_allclose(*answers, rtol=2e-3, atol=1e-3)
    assert np.abs(answers[0]).max() > 0.1


def test_the_linear_head_is_ridge_regression_for_a_number(draw):
    summaries = summaries_of(draw)
    wanted = columns_of(summaries) @ draw.normal(size=10) + 3 + draw.normal(size=ROWS)
    head = LinearHead(WIDTHS, 1, TaskKind.REGRESSION)
    head.fit(summaries, torch.from_numpy(wanted.astype(np.float32)).unsqueeze(1))
    reference = Ridge(alpha=1.0).fit(columns_of(summaries), wanted)
    np.testing.assert_allclose(head(summaries, ROWS)[:, 0].numpy(), reference.predict(columns_of(summaries)), atol=1e-3)


def test_the_linear_head_answers_each_tag_by_itself(draw):
    summaries = summaries_of(draw)
    tags = (columns_of(summaries)[:, :2] + 0.5 * draw.normal(size=(ROWS, 2)) > 0).astype(int)
    head = LinearHead(WIDTHS, 2, TaskKind.TAGGING)
    head.fit(summaries, torch.from_numpy(tags).float())
    for tag in range(2):
        reference = LogisticRegression(C=1.0, tol=1e-8, max_iter=2000).fit(columns_of(summaries), tags[:, tag])
        expected = reference.predict_proba(columns_of(summaries))[:, 1]
        np.testing.assert_allclose(head(summaries, ROWS)[:, tag].sigmoid().numpy(), expected, atol=1e-3)


def test_the_kernel_head_is_kernel_ridge_regression(draw, monkeypatch):
    monkeypatch.setattr(kernel_module, "WIDEST_FOURIER", 0)
    monkeypatch.setattr(kernel_module, "STRENGTHS", (0.3,))
    summaries = summaries_of(draw)
    wanted = columns_of(summaries) @ draw.normal(size=10) + draw.normal(size=ROWS)
    head = KernelHead(WIDTHS, 1, TaskKind.REGRESSION)
    head.fit(summaries, torch.from_numpy(wanted.astype(np.float32)).unsqueeze(1))
    features = np.concatenate([item.values.numpy() for item in summaries.values()], axis=1)
    middle = wanted.mean()
    reference = KernelRidge(alpha=0.3, kernel="linear").fit(features, wanted - middle)
    np.testing.assert_allclose(head(summaries, ROWS)[:, 0].numpy(), reference.predict(features) + middle, atol=1e-3)


def test_fourier_features_come_near_the_gaussian_kernels(draw):
    torch.manual_seed(0)
    head = KernelHead({"table": 4}, 1, TaskKind.REGRESSION)
    (summary,) = summaries_of(draw, 40, {"table": 4}).values()
    features = head.kernels[0].features(summary).double()
    squared = torch.cdist(summary.values, summary.values).double().square()
    waves = torch.stack([torch.exp(-squared / width) for width in kernel_module.BANDWIDTHS]).mean(dim=0)
    expected = 0.25 * (summary.values @ summary.values.T).double() + waves
    assert (features @ features.T - expected).abs().max() < 0.15


def grown(kind, outputs, seed):
    """scikit-learn's forest with the head's settings."""
    leaf = 3 if kind is TaskKind.REGRESSION else 1
    return RandomForestRegressor(
        forest_module.NUM_TREES,
        max_features="sqrt",
        max_leaf_nodes=forest_module.MOST_LEAVES,
        max_depth=forest_module.MOST_DEPTH,
        min_samples_leaf=leaf,
        random_state=seed,
    )


@pytest.mark.parametrize("kind", [TaskKind.CLASSIFICATION, TaskKind.TAGGING, TaskKind.REGRESSION])
def test_the_forest_head_is_a_random_forest(kind, draw):
    widths = {"table": 5, "text": 5}
    summaries, fresh = summaries_of(draw, widths=widths), summaries_of(draw, 50, widths)
    labels = classes_of(summaries, draw)
    target = {
        TaskKind.CLASSIFICATION: shares_of(labels),
        TaskKind.TAGGING: shares_of(labels)[:, :2],
        TaskKind.REGRESSION: torch.from_numpy(labels[:, None] + draw.normal(size=(ROWS, 1))).float(),
    }[kind]
    outputs = target.shape[1]
    head = ForestHead(widths, outputs, kind)
    head.fit(summaries, target)
    reference = grown(kind, outputs, int(head.seed))
    reference.fit(
        np.concatenate([item.values.numpy() for item in summaries.values()], axis=1), target.double().numpy().squeeze()
    )
    means = reference.predict(np.concatenate([item.values.numpy() for item in fresh.values()], axis=1))
    means = means.reshape(50, outputs)
    ours = head(fresh, 50).double()
    if kind is TaskKind.CLASSIFICATION:
        means, ours = (means * ROWS + 1) / (ROWS + 3), ours.exp()
    if kind is TaskKind.TAGGING:
        means, ours = (means * ROWS + 1) / (ROWS + 2), ours.sigmoid()
    np.testing.assert_allclose(ours.numpy(), means, atol=1e-5)
    # A row alone takes another way to the same leaves
    one = {name: Summary(item.values[:1], item.present[:1]) for name, item in fresh.items()}
    np.testing.assert_allclose(head(one, 1).numpy(), head(fresh, 50)[:1].numpy(), atol=1e-6)


def test_wide_fields_do_not_drown_narrow_ones_in_the_forest(draw):
    widths = {"table": 4, "text": 900}
    copies = np.bincount(forest_module._copies(widths, np.ones(904, bool)))
    assert (copies[:4] == 15).all()
    assert (copies[4:] == 1).all()
    # Columns that never vary are not looked at, and do not count as width
    varying = np.arange(904) < 104
    copies = np.bincount(forest_module._copies(widths, varying), minlength=904)
    assert (copies[:4] == 5).all()
    assert (copies[4:104] == 1).all()
    assert not copies[104:].any()
    assert list(forest_module._copies(widths, varying & False)) == [0]
    summaries = summaries_of(draw, widths=widths)
    labels = (summaries["table"].values[:, 0] > 0).long()
    head = ForestHead(widths, 2, TaskKind.CLASSIFICATION)
    head.fit(summaries, torch.eye(2)[labels])
    fresh = summaries_of(draw, widths=widths)
    right = head(fresh, ROWS).argmax(dim=1) == (fresh["table"].values[:, 0] > 0)
    assert right.float().mean() > 0.85


@pytest.mark.parametrize("kind", [TaskKind.CLASSIFICATION, TaskKind.TAGGING, TaskKind.REGRESSION])
@pytest.mark.parametrize("head_class", [KernelHead, LinearHead, ForestHead])
def test_rows_without_a_label_and_fields_that_are_absent_change_nothing(head_class, kind, draw):
    outputs = {TaskKind.CLASSIFICATION: 3, TaskKind.TAGGING: 2, TaskKind.REGRESSION: 1}[kind]
    summaries = summaries_of(draw)
    if kind is TaskKind.CLASSIFICATION:
        target = shares_of(classes_of(summaries, draw))
    elif kind is TaskKind.TAGGING:
        target = torch.from_numpy(draw.integers(0, 2, (ROWS, outputs))).float()
    else:
        target = torch.from_numpy(draw.normal(size=(ROWS, 1)).astype(np.float32))
    target[150:] = math.nan
    torch.manual_seed(0)
    head = head_class(WIDTHS, outputs, kind)
    head.fit(summaries, target)
    again = head_class(WIDTHS, outputs, kind)
    again.load_state_dict(head.state_dict())
    again.fit({name: Summary(item.values[:150], item.present[:150]) for name, item in summaries.items()}, target[:150])
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in head.state_dict().items())
    alone = head({"table": summaries["table"]}, ROWS)
    hidden = Summary(torch.zeros(ROWS, WIDTHS["text"]), torch.zeros(ROWS, dtype=torch.bool))
    assert torch.equal(alone, head({"table": summaries["table"], "text": hidden}, ROWS))
    assert not torch.allclose(alone, head(summaries, ROWS))
    assert torch.isfinite(head({}, 5)).all()
    assert head({}, 5).shape == (5, outputs)


@pytest.mark.parametrize("head_class", [KernelHead, LinearHead, ForestHead])
def test_too_few_labels_leave_the_head_as_it_was(head_class, draw):
    head = head_class(WIDTHS, 1, TaskKind.REGRESSION)
    target = torch.full((ROWS, 1), math.nan)
    target[:3] = 1.0
    head.fit(summaries_of(draw), target)
    assert not head(summaries_of(draw), ROWS).any()


def test_with_many_classes_no_forest_is_grown(tmp_path):
    draw = np.random.default_rng(0)
    rows = [{"x": draw.normal(), "few": "ab"[k % 2], "many": f"c{k % 70}"} for k in range(140)]
    model = fit(rows, ("few", "many"), out=tmp_path / "run", epochs=1, baselines=False, logger="none")
    heads = dict(zip(model.network.members[0].shallow_targets, model.network.members[0].shallow, strict=True))
    assert set(heads["few"]) == {"kernel", "forest"}
    assert set(heads["many"]) == {"kernel"}
    assert len(model.predict(rows[:3])) == 3


def test_which_fields_a_shallow_head_reads():
    class Encoder(torch.nn.Module):
        def __init__(self, width):
            super().__init__()
            if width:
                self.summary_dim = width

    encoders = {"table": Encoder(4), "note": Encoder(6), "picture": Encoder(9), "own": Encoder(0)}
    modalities = {"table": Modality.TABLE, "note": Modality.TEXT, "picture": Modality.IMAGE, "own": Modality.TEXT}
    assert shallow_names("none") == ()
    assert shallow_names("kernel+forest") == ("kernel", "forest")
    assert readable_widths("forest", encoders, modalities) == {"table": 4, "note": 6, "picture": 9}
    assert readable_widths("linear", encoders, modalities) == {"table": 4, "note": 6}
    assert readable_widths("kernel", encoders, modalities) == {"table": 4, "note": 6, "picture": 9}


def test_the_spread_of_the_forest_is_the_deviation_of_the_rows_in_its_leaves(draw, monkeypatch):
    monkeypatch.setattr(forest_module, "NUM_TREES", 20)
    summaries = summaries_of(draw)
    wanted = columns_of(summaries) @ draw.normal(size=10) + draw.normal(size=ROWS)
    head = ForestHead(WIDTHS, 1, TaskKind.REGRESSION)
    _, before = head.answer(summaries, ROWS)
    torch.testing.assert_close(before, torch.ones(ROWS))
    head.fit(summaries, torch.from_numpy(wanted.astype(np.float32)).unsqueeze(1))
    values, spread = head.answer(summaries, ROWS)
    features = np.concatenate([item.values.numpy() for item in summaries.values()], axis=1)
    features = features[:, forest_module._copies(WIDTHS, np.ones(sum(WIDTHS.values()), bool))]
    forest = grown(TaskKind.REGRESSION, 1, int(head.seed)).fit(features, wanted.astype(np.float32))
    leaves = forest.apply(features)
    pairs = [(tree.tree_, leaf) for tree, leaf in zip(forest.estimators_, leaves.T, strict=True)]
    means = np.stack([tree.value[leaf, 0, 0] for tree, leaf in pairs])
    variances = np.stack([tree.impurity[leaf] for tree, leaf in pairs])
    # The law of total variance: within the leaves, and between the trees
    wide = np.sqrt(variances.mean(axis=0) + means.var(axis=0))
    np.testing.assert_allclose(spread.numpy(), wide, rtol=2e-3, atol=2e-3)
    assert torch.equal(values, head(summaries, ROWS))
    nobody = {name: Summary(item.values * 0, ~item.present & False) for name, item in summaries.items()}
    assert head.answer(nobody, ROWS)[1][0].item() == pytest.approx(wanted.std(), rel=1e-3)


def test_of_pictures_the_forest_reads_principal_components(draw):
    thumbnails = draw.normal(size=(60, 50)).astype(np.float32)
    # One direction of large differences decides, no pixel does
    direction = draw.normal(size=50)
    strength = draw.normal(size=60) * 20
    thumbnails += np.outer(strength, direction / np.linalg.norm(direction)).astype(np.float32)
    present = torch.from_numpy(draw.random(60) < 0.9)
    summary = Summary(torch.from_numpy(thumbnails) * present.unsqueeze(1), present)
    target = torch.eye(2)[torch.from_numpy((strength > 0).astype(np.int64))]
    torch.manual_seed(0)
    head = forest_module.ForestHead({"picture": 50}, 2, TaskKind.CLASSIFICATION, {"picture": 50})
    head.fit({"picture": summary}, target)
    right = head({"picture": summary}, 60).argmax(dim=1) == target.argmax(dim=1)
    assert bool(right[present].float().mean() > 0.95)
    empty = Summary(torch.zeros(3, 50), torch.zeros(3, dtype=torch.bool))
    torch.testing.assert_close(head({"picture": empty}, 3), head({}, 3))
