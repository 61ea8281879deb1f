"""The two-modality model of the textbook from the library's parts: embedding and attention for the text, convolution
and attention for the picture, both concatenated. Docs: docs/tutorial.md."""

import numpy as np
import torch

from omnifuse import generate_rooms, open_table
from omnifuse.data.infer import infer_schema
from omnifuse.data.media import MediaDoor
from omnifuse.data.pack import build_packs
from omnifuse.data.preprocessors import fit_preprocessors
from omnifuse.data.targets import encode_target
from omnifuse.encoders import Projectors, TextEncoder, TransformerImageEncoder
from omnifuse.fusion import ConcatFusion
from omnifuse.model import MultimodalModel
from omnifuse.tasks import ClassificationTask
from omnifuse.training.batches import make_batch

table = open_table(generate_rooms("runs/tutorial", num_train=400, num_test=100)[0])
others = tuple(name for name in table.columns if name not in ("note", "picture", "event"))
schema = infer_schema(table, ("event",), fields={}, tasks={}, drop=others, group=None, time=None)
rows, door = np.arange(table.num_rows), MediaDoor(root=table.root)
read = fit_preprocessors(table, schema, rows=rows, door=door)
packs, _ = build_packs(table, schema, read, door=door, num_workers=0)
text = TextEncoder(dim=32, vocab_size=read["note"].vocab_size, depth=1, gated=True)
picture = TransformerImageEncoder(dim=32, height=read["picture"].height, width=read["picture"].width, gated=True)
model = MultimodalModel(
    {"note": text, "picture": picture},
    Projectors({"note": 32, "picture": 32}, {"note": "text", "picture": "image"}, 32),
    ConcatFusion(32, ("note", "picture")),
    {"event": ClassificationTask(schema.targets[0], 32, ("note", "picture"))},
)
labels = {"event": torch.from_numpy(encode_target(table.cells("event"), schema.targets[0]))}
optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
for epoch in range(12):
    for some in np.array_split(np.random.default_rng(epoch).permutation(rows), 12):
        loss = model(make_batch(packs, some, targets=labels)).loss
        loss.backward()
        optimiser.step(), optimiser.zero_grad()
answers = model.eval()(make_batch(packs, rows)).targets["event"].fused.argmax(dim=1)
print(f"loss {loss:.2f}, right on {(answers == labels['event']).float().mean():.0%} of the rows it learnt from")
