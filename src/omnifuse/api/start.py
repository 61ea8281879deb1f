"""What a fit begins with: preprocessing and encoders of a model that was trained before, with labels or without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omnifuse.api.store import load_model, spec_of
from omnifuse.errors import InputError
from omnifuse.model import MultimodalModel
from omnifuse.presets import ModelSpec, Preset
from omnifuse.schema import Input, Modality, Schema

# Settings that the weights of encoders hang on
SIZES = ("dim", "num_heads", "encoder_depth", "gated", "shared_trunk")


@dataclass(frozen=True)
class Start:
    """What is taken of another model.

    Attributes:
        folder: Where it lies.
        model_id: Of the other model.
        spec: What its networks are built of.
        members: Its networks.
        preprocessors: Input that is taken to its preprocessor.
        fresh: Input that is learnt from nothing to the reason why.
        unused: Inputs of the other model that this table has not.
    """

    folder: Path
    model_id: str
    spec: ModelSpec
    members: Sequence[MultimodalModel]
    preprocessors: Mapping[str, Any]
    fresh: Mapping[str, str]
    unused: tuple[str, ...]

    @property
    def words(self) -> str:
        """What is taken and what is fresh, in a sentence or three."""
        text = f"Preprocessing and encoders of {_listed(self.preprocessors)} are taken from '{self.folder}'."
        if self.fresh:
            text += " Learnt from nothing: " + "; ".join(f"'{name}', {why}" for name, why in self.fresh.items()) + "."
        if self.unused:
            text += f" Not used, since this table has not: {_listed(self.unused)}."
        return text

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values for the manifest, without a path."""
        return {"model_id": self.model_id, "taken": list(self.preprocessors), "fresh": dict(self.fresh)}

    def give(self, model: MultimodalModel, number: int) -> None:
        """Put the weights of what is taken into a new network.

        Args:
            model: May read a part of the fields alone.
            number: Of the member; it begins as the other model's member of that number, counted round.
        """
        import torch

        other = self.members[number % len(self.members)]
        mine, theirs = model.projectors, other.projectors
        with torch.no_grad():
            for name in self.preprocessors:
                if name not in model.fields:
                    continue
                here, there = model.fields.index(name), other.fields.index(name)
                model.encoders[here].load_state_dict(other.encoders[there].state_dict())
                for part in ("layers", "norms"):
                    getattr(mine, part)[here].load_state_dict(getattr(theirs, part)[there].state_dict())
                mine.field_embeddings[here] = theirs.field_embeddings[there]  # type: ignore[index,operator]
                kind = mine.modalities[name]  # type: ignore[index]
                row = list(mine.kinds).index(kind), list(theirs.kinds).index(kind)  # type: ignore[arg-type]
                mine.modality_embeddings[row[0]] = theirs.modality_embeddings[row[1]]  # type: ignore[index,operator]
            if model.trunk is not None and other.trunk is not None:
                model.trunk.load_state_dict(other.trunk.state_dict())


def open_start(folder: Path, schema: Schema) -> Start:
    """Load a model and see what of it suits a table.

    Args:
        folder: A run folder or model folder.
        schema: Of the table.

    Raises:
        InputError: The model has read a label, a field is of another modality there, or no field is common.
        ArtefactError: The folder holds no whole model.
    """
    model = load_model(folder)
    seen = {item.name for item in model.schema.fields} | {item.source for item in model.schema.fields}
    for target in schema.targets:
        if target.name in seen:
            raise InputError(
                f"the model in '{folder}' has read the label '{target.name}' as a field",
                where="scores on rows that it has seen would be too good",
                fix=f"Pretrain again with --drop {target.name}",
            )
    _check_modalities(schema, model.schema, folder)
    theirs = {item.name: item for item in model.schema.inputs}
    derived = set(schema.history.derived) if schema.history is not None else set()
    taken, fresh = [], {}
    for item in schema.inputs:
        why = _unlike(item, theirs.get(item.name), schema, model.schema)
        if item.name in derived:
            why = "which is made of earlier rows"
        if why:
            fresh[item.name] = why
        else:
            taken.append(item.name)
    if not taken:
        raise InputError(
            f"the model in '{folder}' has no field in common with the table",
            where=f"it reads {_listed(theirs)}; the table has " + "; ".join(f"'{n}', {w}" for n, w in fresh.items()),
            fix="Pretrain on a table with the same columns, or leave --from out",
        )
    unused = tuple(name for name in theirs if name not in {item.name for item in schema.inputs})
    known = {name: model.preprocessors[name] for name in taken}
    return Start(folder, model.model_id, spec_of(model.manifest), model.members, known, fresh, unused)


def _check_modalities(mine: Schema, theirs: Schema, folder: Path) -> None:
    """Refuse a column that is read as another modality; numbers and categories only make the table a fresh one.

    Raises:
        InputError: Names the column.
    """
    cells = (Modality.NUMBER, Modality.CATEGORY)
    known = {item.name: item.modality for item in theirs.fields}
    for item in mine.fields:
        other = known.get(item.name, item.modality)
        if item.modality is not other and not (item.modality in cells and other in cells):
            raise InputError(
                f"the field '{item.name}' is {item.modality} here and {other} in '{folder}'",
                fix=f"Say --field {item.name}={other}, or --drop {item.name}",
            )


def _unlike(item: Input, other: Input | None, mine: Schema, theirs: Schema) -> str:
    """Why an input cannot be taken; "" where it can."""
    if other is None or item.modality is not other.modality:
        return "which it does not read"
    if item.modality is Modality.TABLE:
        return _other_columns(item, other, mine, theirs)
    return "" if item.columns == other.columns else f"which stands in {_listed(other.columns)} there"


def _other_columns(item: Input, other: Input, mine: Schema, theirs: Schema) -> str:
    """Why the numbers and categories of a table are not those of another one; "" where they are."""
    here = {name: mine.field(name).modality for name in item.columns}
    there = {name: theirs.field(name).modality for name in other.columns}
    if here == there:
        return ""
    parts = [
        (sorted(here.keys() - there.keys()), "only here"),
        (sorted(there.keys() - here.keys()), "only there"),
        (sorted(name for name in here.keys() & there.keys() if here[name] is not there[name]), "of another kind"),
    ]
    return "whose columns differ: " + ", ".join(f"{_listed(names)} {what}" for names, what in parts if names)


def _listed(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names)


def with_start(preset: Preset, start: Start, schema: Schema, settings: Mapping[str, str]) -> Preset:
    """The preset with the sizes and encoders of what is taken.

    Args:
        preset: With the user's settings.
        start: What is taken.
        schema: Of the table.
        settings: Those that the user named.

    Raises:
        InputError: A setting or an encoder contradicts the model that is begun with.
    """
    sizes = {name: getattr(start.spec, name) for name in SIZES}
    for name, value in sizes.items():
        if name in settings and getattr(preset.model, name) != value:
            raise InputError(
                f"--set {name}={settings[name]}, and the model in '{start.folder}' has {name}={value}",
                fix=f"Leave --set {name} out, or --from",
            )
    encoders = dict(preset.model.encoders)
    for item in schema.inputs:
        if item.name in start.preprocessors:
            wanted = start.spec.encoder_of(item.name, item.modality)
            if encoders.get(item.name, wanted) != wanted:
                raise InputError(
                    f"--encoder {item.name}={encoders[item.name]}, and the model in '{start.folder}' has {wanted}",
                    fix=f"Leave --encoder {item.name} out, or --from",
                )
            encoders[item.name] = wanted
    return replace(preset, model=replace(preset.model, **sizes, encoders=encoders))
