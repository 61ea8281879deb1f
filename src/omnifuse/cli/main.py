"""Entry point: builds the command line and turns every error into one clear line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

import typer

from omnifuse import __version__
from omnifuse.cli import (
    answer,
    caption,
    compress,
    demo,
    doctor,
    edge,
    embed,
    evaluate,
    explain,
    export,
    fit,
    index,
    inspect,
    listing,
    predict,
    pretrain,
    registry,
    report,
    search,
    serve,
    transcribe,
)
from omnifuse.cli.termination import TERMINATED, TerminatedError, terminable
from omnifuse.errors import OmnifuseError

app = typer.Typer(
    name="omnifuse",
    help="Learn one model from a table of texts, pictures, sounds, videos, numbers, categories and dates, with holes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("demo")(demo.demo)
app.command("inspect")(inspect.inspect)
app.command("fit")(fit.fit)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("pretrain")(pretrain.pretrain)
app.command("embed")(embed.embed)
app.command("explain")(explain.explain)
app.command("index")(index.index)
app.command("search")(search.search)
app.command("report")(report.report)
app.command("caption")(caption.caption)
app.command("transcribe")(transcribe.transcribe)
app.command("answer")(answer.answer)
app.command("export")(export.export)
app.command("compress")(compress.compress)
app.command("edge")(edge.edge)
app.add_typer(registry.registry)
app.command("serve")(serve.serve)
app.command("doctor")(doctor.doctor)
app.command("list")(listing.list_parts)

INTERRUPTED = 130
# The user named a place where nothing can be written or read; other failures are the machine's
_WRONG_PLACE = (PermissionError, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Learn one model from a table of texts, pictures, sounds, videos, numbers, categories and dates, with holes."""


def _say(text: str) -> None:
    sys.stderr.write(f"omnifuse: {text}\n")


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    0 done, 2 the input is wrong, 3 the environment lacks something, 130 interrupted, 143 terminated, 1 our bug.
    """
    # Before torch is loaded: threads that spin while they wait slow training tenfold where another program is busy
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"]
    code = 0
    try:
        with terminable():
            app(args=given, standalone_mode=True)
    except TerminatedError:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # one more while Python ends would change the exit code
        _say("terminated; what was saved stays. Type the same with --resume to go on with a fit.")
        code = TERMINATED
    except OmnifuseError as error:
        if debug:
            raise
        _say(f"error: {error}")
        code = error.exit_code
    except SystemExit as end:  # how click ends, after an interruption too
        code = end.code if isinstance(end.code, int) else 0
        if code == INTERRUPTED:
            _say("interrupted; what was saved stays. Type the same with --resume to go on with a fit.")
    except KeyboardInterrupt:
        _say("interrupted; what was saved stays. Type the same with --resume to go on with a fit.")
        code = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if debug:
            raise
        place = f" ('{error.filename}')" if error.filename else ""
        _say(
            f"error: {error.strerror or error}{place}. Look at the place that was named and the space left on the disk."
        )
        code = 2 if isinstance(error, _WRONG_PLACE) else 3
    except Exception as error:
        if debug:
            raise
        if (
            isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        ):  # torch's; it is not loaded here
            _say("error: out of memory. Give a smaller --preset, or fewer rows at a time.")
            sys.exit(3)
        _say(f"bug: {type(error).__name__}: {error}. Run again with --debug and report what it prints.")
        code = 1
    sys.exit(code)
