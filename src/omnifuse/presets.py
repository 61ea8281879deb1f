"""Presets own configuration: frozen dataclasses, read by `building`. One dial: tiny, small, base, or auto."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from omnifuse.association import ALIGNMENTS
from omnifuse.data.target_text import TextOptions
from omnifuse.encoders import DEFAULT_ENCODERS
from omnifuse.errors import ArtefactError, InputError, did_you_mean
from omnifuse.fusion import FUSIONS
from omnifuse.layers import POOLINGS
from omnifuse.schema import Modality, Schema, TaskKind
from omnifuse.tasks import NO_SHALLOW_HEAD, SHALLOW_HEADS, shallow_names

# Setting to its smallest and largest value
_RANGES: dict[str, tuple[float, float]] = {
    "dim": (1, 16_384),
    "num_heads": (1, 1024),
    "encoder_depth": (0, 256),
    "fusion_depth": (0, 256),
    "shared_trunk": (0, 256),
    "decoder_depth": (1, 256),
    "dropout": (0.0, 0.95),
    "head_dropout": (0.0, 0.95),
    "stochastic_depth": (0.0, 0.95),
    "modality_dropout": (0.0, 0.95),
    "auxiliary": (0.0, 100.0),
    "alignment": (0.0, 100.0),
    "label_smoothing": (0.0, 0.95),
    "interval": (0.5, 0.99),
    "space": (0, 16_384),
    "epochs": (1, 1_000_000),
    "batch_size": (0, 1_000_000),
    "learning_rate": (1e-9, 10.0),
    "weight_decay": (0.0, 100.0),
    "warm_up": (0.0, 1.0),
    "clip": (1e-6, 1e6),
    "averaging": (0.0, 1.0),
    "mixup": (0.0, 100.0),
    "cutmix": (0.0, 1.0),
    "reverberation": (0.0, 1.0),
    "augment": (0.0, 10.0),
    "balance": (0.0, 2.0),
    "largest_image": (4, 4096),
    "max_seconds": (0.05, 600.0),
    "num_frames": (1, 128),
    "max_tokens": (4, 65_536),
    "max_steps": (2, 65_536),
    "vocab_size": (300, 1_000_000),
    "max_written": (1, 65_536),
}


def _check_ranges(spec: Any) -> None:
    """Refuse values out of range, NaN among them."""
    for item in fields(spec):
        value = getattr(spec, item.name)
        low, high = _RANGES.get(item.name, (None, None))
        if low is not None and high is not None and not low <= value <= high:
            raise InputError(f"the setting {item.name} is {value}", fix=f"Give a number from {low} to {high}")


# Least length of a sound that is transcribed before the rest is cut
SPEECH_SECONDS = 30.0
# Setting `table` to the encoder of the table
TABLE_ENCODERS = {"transformer": "table-piecewise", "mlp": "table-mlp"}
AUTO = "auto"
BALANCINGS = ("none", "uncertainty", "gradnorm")
PRECISIONS = ("auto", "fp32", "bf16")
OPTIMISERS = ("adamw", "muon")
SAMPLINGS = ("natural", "balanced", "sqrt")


ENSEMBLE_FUSION = "ensemble"
# Of unlike kinds, so that their members err differently
ENSEMBLE = ("joint", "gated", "bottleneck", "attention", "concat")


def _check_name(what: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise InputError(f"there is no {what} '{name}'", fix=did_you_mean(name, known))


@dataclass(frozen=True)
class ModelSpec:
    """What is built.

    Attributes:
        dim: The one width D.
        num_heads: Heads of attention.
        encoder_depth: Blocks of transformer encoders.
        fusion_depth: Blocks of the fusion.
        dropout: Inside encoders and fusion.
        head_dropout: Before the heads.
        decoder_depth: Blocks of the decoder of a target that is written.
        stochastic_depth: Share of the rows that pass by the last residual block in training; it rises in a line from
            the first block.
        fusion: Name in `fusion.FUSIONS`, or "ensemble": members with the fusions of `ENSEMBLE` in turn.
        encoders: Input to encoder name; others take their modality's default.
        gated: Gated blocks `E(x) * Attention(E(x))` in encoders.
        shared_trunk: Blocks that all fields share; 0 for none.
        pooling: Name in `layers.POOLINGS` for the field heads.
        modality_dropout: Chance of a field to be hidden in training.
        auxiliary: Weight of the single-field heads.
        alignment: Weight of the alignment between fields; 0 leaves it out.
        alignment_loss: Name in `association.ALIGNMENTS`.
        label_smoothing: Share of the label spread over all classes.
        shallow: Models of fixed features beside the network's heads: names in `tasks.SHALLOW_HEADS` joined by "+", or
            "none".
        interval: Share of the truths that the interval of a number shall hold.
        table: Encoder of the table where `encoders` names none: "transformer" (table-piecewise), "mlp" (table-mlp), or
            "auto": `fit` takes the one that answers unlearnt rows better from the table alone.
        space: Width of the space in which fields are compared, which `pretrain` learns; 0 for none.
    """

    dim: int = 64
    num_heads: int = 4
    encoder_depth: int = 2
    fusion_depth: int = 1
    dropout: float = 0.1
    head_dropout: float = 0.1
    fusion: str = "joint"
    encoders: Mapping[str, str] = field(default_factory=dict)
    gated: bool = False
    shared_trunk: int = 0
    pooling: str = "attention"
    modality_dropout: float = 0.2
    auxiliary: float = 0.5
    alignment: float = 0.0
    alignment_loss: str = "contrastive"
    label_smoothing: float = 0.05
    shallow: str = "kernel+forest"
    interval: float = 0.9
    table: str = "transformer"
    stochastic_depth: float = 0.0
    decoder_depth: int = 2
    space: int = 0

    def __post_init__(self) -> None:
        """Refuse unknown names and values out of range."""
        _check_ranges(self)
        if self.dim % self.num_heads:
            raise InputError(
                f"the setting dim is {self.dim}, which num_heads {self.num_heads} does not divide",
                fix=f"Give for example --set dim={self.num_heads * max(1, self.dim // self.num_heads)}",
            )
        _check_name("fusion", self.fusion, (*FUSIONS, ENSEMBLE_FUSION))
        _check_name("pooling", self.pooling, POOLINGS)
        _check_name("choice of table", self.table, (*TABLE_ENCODERS, AUTO))
        _check_name("alignment loss", self.alignment_loss, ALIGNMENTS)
        for name in shallow_names(self.shallow):
            _check_name("shallow head", name, (*SHALLOW_HEADS, NO_SHALLOW_HEAD))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "encoders": dict(self.encoders)}

    def encoder_of(self, name: str, modality: Modality) -> str:
        """The encoder of an input: the one that is named for it, else that of its modality."""
        if modality is Modality.TABLE and name not in self.encoders:
            return TABLE_ENCODERS.get(self.table, DEFAULT_ENCODERS[modality])
        return self.encoders.get(name, DEFAULT_ENCODERS[modality])

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelSpec:
        """Inverse of `to_json`.

        Raises:
            ArtefactError: A key is unknown or a name is not in its table.
        """
        try:
            return cls(**data)
        except (TypeError, InputError) as error:
            raise ArtefactError(f"the specification of the model cannot be read: {error}") from None


@dataclass(frozen=True)
class TrainingSpec:
    """How it is trained.

    Attributes:
        epochs: Most passes over the training rows.
        batch_size: Rows a step; 0 chooses by the number of rows.
        learning_rate: Peak of the schedule.
        weight_decay: Of AdamW, on matrices alone.
        warm_up: Share of the steps with a rising rate.
        clip: Largest norm of the gradient.
        averaging: Share of the steps whose weights are averaged, weighted towards the end.
        mixup: Parameter of the Beta distribution; 0 leaves mixup out.
        cutmix: Share of the batches in which a part of each picture is another row's, and the label with it.
        augment: Strength of the augmentation; 0 leaves it out.
        reverberation: Share of sounds that are put into a room.
        balance: Power of the inverse class frequency in the loss: 0 none, 1 balanced.
        balancing: Of several targets' losses: "none" adds them up, "uncertainty" and "gradnorm" learn weights; see
            `training.balancing`.
        precision: "fp32", "bf16" (autocast), or "auto": the quicker one where the hardware has bf16.
        optimiser: "adamw", or "muon": Muon for the matrices of encoders, trunk and fusion, AdamW for the rest.
        sampling: Which rows an epoch holds: "natural" each once; "balanced" rows of every class equally often; "sqrt"
            half way between. It changes what is seen, `balance` what a mistake costs; the loss weight counts classes as
            they are drawn, so both together do not correct twice.
    """

    epochs: int = 60
    batch_size: int = 0
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warm_up: float = 0.1
    clip: float = 1.0
    averaging: float = 0.1
    mixup: float = 0.0
    cutmix: float = 0.0
    augment: float = 1.0
    reverberation: float = 0.0
    balance: float = 0.5
    balancing: str = "none"
    precision: str = "auto"
    optimiser: str = "adamw"
    sampling: str = "natural"

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        _check_ranges(self)
        _check_name("balancing", self.balancing, BALANCINGS)
        _check_name("precision", self.precision, PRECISIONS)
        _check_name("optimiser", self.optimiser, OPTIMISERS)
        _check_name("sampling", self.sampling, SAMPLINGS)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Preset:
    """A model, its training, and the sizes of decoded media.

    Attributes:
        largest_image: Longest side of decoded pictures and frames.
        max_seconds: Longest part of a sound that is read.
        num_frames: Most frames that are read of a video.
        max_tokens: Longest text.
        max_steps: Steps of a series; longer ones become means over so many equal stretches of time.
        vocab_size: Largest vocabulary.
        max_written: Longest text that is written, in ids.
        written_units: "characters", "bpe" or "auto", see `data.target_text.TextOptions`.
        written_normaliser: What is done to texts before they are learnt, a name in `data.normalisers`.
    """

    name: str
    model: ModelSpec
    training: TrainingSpec
    largest_image: int = 64
    max_seconds: float = 10.0
    num_frames: int = 8
    max_tokens: int = 192
    max_steps: int = 512
    vocab_size: int = 4096
    max_written: int = 256
    written_units: str = "auto"
    written_normaliser: str = "plain"

    def __post_init__(self) -> None:
        """Refuse unknown names and values out of range."""
        _check_ranges(self)
        assert self.written_options, "checked by TextOptions itself"

    @property
    def written_options(self) -> TextOptions:
        """How texts that are written become ids."""
        return TextOptions(self.written_units, self.written_normaliser, self.max_written)

    def input_options(self, schema: Schema) -> dict[str, dict[str, Any]]:
        """Input to keyword arguments of its preprocessor's `fit`."""
        is_transcribed = any(item.kind is TaskKind.TRANSCRIPTION for item in schema.targets)
        by_modality: dict[Modality, dict[str, Any]] = {
            Modality.IMAGE: {"largest": self.largest_image},
            # A sound may be told by its beginning; what is said is written down to the end
            Modality.AUDIO: {
                "max_seconds": max(self.max_seconds, SPEECH_SECONDS) if is_transcribed else self.max_seconds
            },
            Modality.SERIES: {"max_steps": self.max_steps},
            Modality.VIDEO: {"largest": self.largest_image, "num_frames": self.num_frames},
            Modality.TEXT: {"max_length": self.max_tokens, "vocab_size": self.vocab_size},
        }
        found = {item.name: by_modality[item.modality] for item in schema.inputs if item.modality in by_modality}
        history = schema.history
        if history is not None and history.name in found:
            found[history.name] = {"max_steps": min(max(history.window, 2), self.max_steps)}
        for item in history.texts if history is not None else ():
            if item.name not in found:
                continue
            # The most recent words stand last
            found[item.name] = {**found[item.name], "keep_end": True}
        return found


PRESETS: dict[str, Preset] = {
    "tiny": Preset(
        "tiny",
        ModelSpec(dim=32, encoder_depth=1, num_heads=2),
        TrainingSpec(epochs=30),
        largest_image=32,
        max_seconds=5.0,
        max_tokens=96,
        max_steps=256,
        vocab_size=2048,
    ),
    "small": Preset("small", ModelSpec(dim=64), TrainingSpec(), largest_image=64),
    "base": Preset(
        "base",
        ModelSpec(dim=192, num_heads=6, encoder_depth=4, fusion_depth=2),
        TrainingSpec(epochs=60, learning_rate=1e-3),
        largest_image=128,
        max_seconds=20.0,
        num_frames=16,
        max_tokens=384,
        vocab_size=16_384,
    ),
}


def written_encoders(schema: Schema) -> dict[str, str]:
    """Encoders that writing asks for: the sound that is transcribed needs a token every few hundredths of a second."""
    if all(item.kind is not TaskKind.TRANSCRIPTION for item in schema.targets):
        return {}
    return {item.name: "audio-conformer" for item in schema.inputs if item.modality is Modality.AUDIO}


# From so many rows on, dropout costs more than it gives within a few minutes of training; a kernel machine adds nothing
# and errs beyond the range of the training rows, where a linear model holds
PLENTY_ROWS = 1000
# Passes times rows that are enough; what pictures and sounds show, each pass shows from another side
ROWS_SEEN, MEDIA_ROWS_SEEN = 90_000, 180_000
# CTC finds where each piece is said after some hundred steps; most passes over few transcripts
SPEECH_ROWS_SEEN, SPEECH_PASSES = 60_000, 400


def choose_preset(name: str, schema: Schema, num_rows: int) -> Preset:
    """The preset of that name; "auto" looks at rows and modalities.

    Raises:
        InputError: There is no such preset.
    """
    if name in PRESETS:
        return PRESETS[name]
    if name != "auto":
        raise InputError(f"there is no preset '{name}'", fix=did_you_mean(name, ["auto", *PRESETS]))
    return automatic(schema, num_rows)


def automatic(schema: Schema, num_rows: int) -> Preset:
    """small, fitted to the rows: few rows are seen more often and held tighter, many need no dropout.

    Found by cross-validation on training rows of packs with 160 to 8,000 rows.
    """
    start = PRESETS["small"]
    media = any(item.modality.is_media for item in schema.inputs)
    epochs = int(min(max((MEDIA_ROWS_SEEN if media else ROWS_SEEN) / max(num_rows, 1), 12), 60))
    if any(item.kind is TaskKind.TRANSCRIPTION for item in schema.targets):
        epochs = max(epochs, min(SPEECH_ROWS_SEEN // max(num_rows, 1), SPEECH_PASSES))
    if num_rows < PLENTY_ROWS:
        training = replace(start.training, epochs=epochs, augment=0.5)
        return replace(start, name="auto", training=training)
    # Of days that were not learnt from, trees on the past rows err elsewhere than a line does
    shallow = "linear+forest" if schema.history is not None and schema.history.columns else "linear"
    # Each field's own head pulls hard, and fields are often hidden: else the field that is learnt first explains the
    # rows, and the model knows less of the others than a network of each alone does
    model = replace(start.model, dropout=0.0, modality_dropout=0.3, auxiliary=2.0, shallow=shallow)
    return replace(start, name="auto", model=model, training=replace(start.training, epochs=epochs, augment=0.7))


_TRUE = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def _converted(name: str, value: str, like: Any) -> Any:
    try:
        if isinstance(like, bool):
            return _TRUE[value.lower()]
        return type(like)(value)
    except (KeyError, ValueError):
        raise InputError(
            f"--set {name}={value}: not a {type(like).__name__}", fix=f"It is {like!r} by default"
        ) from None


def with_settings(preset: Preset, settings: Mapping[str, str]) -> Preset:
    """The preset with single settings changed, `{"dropout": "0.2"}`.

    Raises:
        InputError: A setting is unknown, or its value has another type or is out of range.
    """
    model_names = {item.name for item in fields(ModelSpec)} - {"encoders"}
    training_names = {item.name for item in fields(TrainingSpec)}
    preset_names = {item.name for item in fields(Preset)} - {"name", "model", "training"}
    model, training, sizes = {}, {}, {}
    for name, value in settings.items():
        if name in model_names:
            model[name] = _converted(name, value, getattr(preset.model, name))
        elif name in training_names:
            training[name] = _converted(name, value, getattr(preset.training, name))
        elif name in preset_names:
            sizes[name] = _converted(name, value, getattr(preset, name))
        else:
            known = sorted(model_names | training_names | preset_names)
            raise InputError(f"there is no setting '{name}'", fix=did_you_mean(name, known))
    # All at once: dim and num_heads may fit only together
    return replace(preset, model=replace(preset.model, **model), training=replace(preset.training, **training), **sizes)
