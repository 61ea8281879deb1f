"""What every part promises of its graph: it answers as the part does, for any rows, lengths and holes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.conftest import make_problem

from omnifuse.data.worlds import World, WorldField, generate_world
from omnifuse.deploy.export import WITHOUT_STEPS, export_field, export_fusion, export_graphs
from omnifuse.deploy.graph_folder import FUSION_FILE, FieldSignature
from omnifuse.deploy.graph_runner import GraphRunner, open_graph
from omnifuse.deploy.graphs import FusionGraph
from omnifuse.deploy.parity import TOLERANCE
from omnifuse.encoders import ENCODERS
from omnifuse.fusion import FUSIONS
from omnifuse.layers.pooling import POOLINGS
from omnifuse.schema import Modality
from omnifuse.training.batches import make_batch
from omnifuse.training.predict import run_subsets

# The column of a generated world for each modality
COLUMNS = {
    Modality.TEXT: "note",
    Modality.IMAGE: "picture",
    Modality.AUDIO: "sound",
    Modality.VIDEO: "clip",
    Modality.SERIES: "series",
    Modality.TABLE: "number",
    Modality.DATE: "date",
    Modality.PLACE: "place",
    Modality.TAGS: "tags",
}


@pytest.fixture(scope="module")
def problem_of(tmp_path_factory):
    """Modality to 12 prepared rows of two fields: one of this modality and a category, a fifth of the cells empty."""
    kept = {}

    def problem(modality):
        if modality not in kept:
            out = tmp_path_factory.mktemp(modality.value)
            fields = (WorldField(COLUMNS[modality], 0, missing=0.2), WorldField("category", 1, missing=0.2))
            train, _ = generate_world(out / "data", World(fields), num_train=12, num_test=1)
            kept[modality] = make_problem(train, ["label"], out / "fit")
        return kept[modality]

    return problem


def members_of(problem, count=2, **changes):
    """Networks of different weights with fitted shallow heads, in eval mode."""
    found = []
    for seed in range(count):
        network = problem.network(seed=seed, **changes)
        if network.shallow_targets:
            packs = {name: problem.prepared.packs[name] for name in network.summarised_fields()}
            targets = problem.source().targets
            network.fit_shallow(make_batch(packs, np.arange(len(problem.prepared.rows)), targets=targets))
        found.append(network.eval())
    return found


def values_of(raw):
    found = {f"{target}/fused": values for target, values in raw.fused.items()}
    found |= {f"{target}/{name}": values for target, heads in raw.fields.items() for name, values in heads.items()}
    return found | {f"{target}/spread/{name}": v for target, s in raw.spreads.items() for name, v in s.items()}


def assert_graphs_answer_alike(problem, members):
    prepared = problem.prepared
    modalities = {item.name: item.modality for item in prepared.schema.inputs}
    signature, graphs = export_graphs(members, modalities, prepared.packs)
    encoders = {name: graphs[item.file] for name, item in signature.fields.items()}
    runner = GraphRunner(signature, encoders, graphs[FUSION_FILE], threads=1)
    names, rows = members[0].fields, np.arange(len(prepared.rows))
    for subset in (names, names[:1]):
        wanted = values_of(run_subsets(members, prepared.packs, rows, [subset])[subset])
        found = values_of(runner.raw(prepared.packs, rows, subset=subset))
        assert found.keys() == wanted.keys()
        for name, values in wanted.items():
            np.testing.assert_allclose(found[name], values, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ENCODERS))
def test_the_graph_of_each_encoder(problem_of, name):
    modality = Modality(ENCODERS[name].modality)
    problem = problem_of(modality)
    inputs = {item.modality: item.name for item in problem.prepared.schema.inputs}
    members = members_of(problem, encoders={inputs[modality]: name})
    field = inputs[modality]
    pack = problem.prepared.packs[field]
    signature, content = export_field(members, field, "one.onnx", modality, pack)
    assert (signature.file, signature.steps) == ("one.onnx", modality not in WITHOUT_STEPS)
    assert open_graph(content).get_inputs()[0].name == signature.arrays[0][0]
    assert_graphs_answer_alike(problem, members)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(FUSIONS))
def test_the_graph_of_each_fusion(media_problem, name):
    members = members_of(media_problem, 1, fusion=name, auxiliary=0.0, shallow="none")
    assert_fusions_answer_alike(media_problem, members)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{"shared_trunk": 1}, {"gated": True}, *({"pooling": p} for p in POOLINGS)], ids=str
)
def test_the_graph_of_each_variant(media_problem, changes):
    assert_fusions_answer_alike(media_problem, members_of(media_problem, 1, shallow="none", **changes))


def own_part(names, given, number):
    """What one member takes: masks are shared, tokens and features its own."""
    return [item if name.startswith("mask") else item[number] for name, item in zip(names, given, strict=True)]


def assert_fusions_answer_alike(problem, members):
    """Graph and modules on random tokens: rows with all fields, some and none, more tokens than were traced."""
    graphs = [FusionGraph(member).eval() for member in members]
    fusion = graphs[0]
    batch = make_batch(problem.prepared.packs, np.arange(2))
    names, dim = members[0].fields, next(iter(members[0].encode(batch).values())).values.shape[-1]
    features = {name: item.values.shape[-1] for name, item in members[0].summarise(batch).items()}
    fields = {name: FieldSignature("", (), dim, features.get(name, 0), True) for name in names}
    _, content = export_fusion(members, fields)
    session, draw = open_graph(content, threads=1), torch.Generator().manual_seed(0)
    for num_rows in (1, 5):
        given = []
        for place in range(len(names)):
            values = torch.randn(len(members), num_rows, 2 + 3 * place, dim, generator=draw)
            mask = torch.rand(num_rows, 2 + 3 * place, generator=draw) < 0.7
            mask[num_rows // 2] &= place % 2 == 0
            if num_rows > 1:
                mask[0] = False
            given += [values * mask[None, :, :, None], mask]
        given += [torch.randn(len(members), num_rows, features[name], generator=draw) for name in fusion.summarised]
        with torch.inference_mode():
            each = [graph(*own_part(fusion.inputs, given, number)) for number, graph in enumerate(graphs)]
        *answers, pooled = zip(*each, strict=True)
        wanted = [*(torch.stack(parts) for parts in answers), torch.cat(pooled, dim=1)]
        found = session.run(None, dict(zip(fusion.inputs, (item.numpy() for item in given), strict=True)))
        for values, other, title in zip(found, wanted, fusion.outputs, strict=True):
            np.testing.assert_allclose(values, other.numpy(), rtol=TOLERANCE, atol=TOLERANCE, err_msg=str(title))


@pytest.mark.slow
def test_the_graphs_of_each_task(plain_problem):
    assert_graphs_answer_alike(plain_problem, members_of(plain_problem, 1))


@pytest.mark.slow
def test_the_graphs_of_an_ordinal_task(level_problem):
    assert_graphs_answer_alike(level_problem, members_of(level_problem, 1))
