"""What a fit refuses once the roles of the columns are known, before anything is decoded."""

from __future__ import annotations

from omnifuse.api.options import FitOptions
from omnifuse.encoders import encoder_entry
from omnifuse.errors import InputError, did_you_mean
from omnifuse.presets import Preset
from omnifuse.schema import Schema


def check_written(schema: Schema, preset: Preset, options: FitOptions, *, several_fusions: bool) -> None:
    """Refuse what compares scores of classes and numbers where every target is a text.

    Raises:
        InputError: It was asked for.
    """
    asked = {
        "--search": options.search is not None,
        "--curve": options.curve,
        "several fusions": several_fusions,
        "--set table=auto": preset.model.table == "auto",
    }
    wrong = [name for name, said in asked.items() if said]
    if wrong and not schema.chosen:
        raise InputError(
            f"{wrong[0]} compares answers of classes or numbers, and every label is a text to write",
            fix=f"Leave it out, or give a label of another task beside {schema.written[0].name}",
        )


def check_encoders(schema: Schema, preset: Preset) -> None:
    """Refuse the encoder of a field that there is not, or that reads another modality.

    Raises:
        InputError: There is such a one.
    """
    inputs = {item.name: item for item in schema.inputs}
    for name, encoder in preset.model.encoders.items():
        if name not in inputs:
            raise InputError(f"--encoder names '{name}', which is no input", fix=did_you_mean(name, inputs))
        encoder_entry(encoder, inputs[name].modality)
