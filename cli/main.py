"""The command `corpus` and its subcommands; each parses, calls one function and prints."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from typing import Annotated, Any

import typer

from corpus.cli import (
    annotation,
    build,
    cache,
    cues,
    doctor,
    models,
    review,
    sample,
    score,
    settings,
    show,
    talk,
    train,
    views,
)
from corpus.schemas.errors import CorpusError

app = typer.Typer(
    name="corpus",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turns recorded conversations into training data for models that listen, watch and speak "
    "at once.\n\ncorpus build talks/ --out dataset",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"corpus {version('duplex-corpus')}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command("build")(build.build)
app.command("plan")(build.plan)
app.command("status")(build.status)
app.command("errors")(build.errors)
app.command("verify")(build.verify)
app.command("label")(cues.label)
app.command("score-cues")(cues.score_cues)
app.command("inspect")(views.inspect)
app.command("stats")(views.stats)
app.command("catalog")(views.catalog)
app.command("sample")(sample.sample)
app.command("score")(score.score)
app.command("doctor")(doctor.doctor)
app.command("probe")(models.probe)
app.add_typer(models.models, name="models")
app.add_typer(cache.cache, name="cache")
app.add_typer(train.group, name="train")
app.add_typer(review.group, name="review")
app.add_typer(annotation.group, name="annotations")
app.command("talk")(talk.talk)
app.command("eval")(talk.eval_)
app.command("export")(train.export)
app.command("init")(settings.init)
app.command("config")(settings.config)


def main() -> None:
    """Run the command line; every expected failure is one line on stderr and an exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = app(standalone_mode=False)
    except CorpusError as error:
        print(f"corpus: {show.one_line(str(error))}", file=sys.stderr)
        code = error.exit_code
    except typer.TyperException as error:
        print(_complaint(error.format_message(), getattr(error, "ctx", None)), file=sys.stderr)
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except SystemExit as ended:  # typer's own answer to a closed pipe is exit code 1
        code = 0 if isinstance(ended.__context__, BrokenPipeError) else ended.code
    except BrokenPipeError:  # the reader of our output has stopped, as in `corpus plan … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        print(f"corpus: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        code = 1
    if code == 130:
        print("corpus: interrupted; finished work is kept, the same command resumes", file=sys.stderr)
        if threading.active_count() > 1:  # a thread may be waiting for the network or a slow disk
            sys.stdout.flush()
            os._exit(130)
    sys.exit(code if isinstance(code, int) else 0)


_REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""What the machine may refuse at any write: not a bug of ours, so no traceback."""


def _complaint(message: str, context: Any) -> str:
    """One line, except that a command group called without a command prints its whole help."""
    if "\n" in message:
        return message
    names: list[str] = []
    while context is not None and context.parent is not None:  # the outermost is the program
        names, context = [context.info_name, *names], context.parent
    return f"corpus: {message.rstrip('.')}; `{' '.join(['corpus', *names])} --help` shows how"


def _interrupt(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
