"""The command line: one thin file a verb, loaded when it is called, so that help answers at once.

Human text goes to stdout, or one JSON object with `--json`; progress goes to stderr. Exit codes: 0 done, 1 our bug, 2 usage or config,
3 bad input, 4 damaged artefact, 5 disk or memory, 6 more rejects than allowed, 7 non-finite training, 75 output locked, 130 and 143
signals.
"""

import errno
import sys
import traceback
from importlib import import_module

import click

from jftdata import __version__
from jftdata.errors import Interrupted, JftDataError, nearest

VERBS = {
    "demo": "Run the whole chain on the built-in world and write a report.",
    "catalog": "Make a catalog of images and labels, or show one.",
    "hierarchy": "Show, check, draw, convert or match label hierarchies.",
    "tail": "Count images by label, ancestors filled in.",
    "embed": "Embed the images of a catalog.",
    "dedup": "Find near-duplicates in a set, look at them, drop or merge them.",
    "overlap": "Find test images that have a copy in training.",
    "noise": "Find wrong and missing labels, show them, and measure how many there are.",
    "select": "Choose labels from candidate pairs at a target precision.",
    "subset": "Choose images by size or recipe, and tell why one was chosen.",
    "export": "Write a catalog or subset for other tools: Parquet, folders, WebDataset, COCO or a list.",
    "pretrain": "Pretrain a ResNet on a subset.",
    "validate": "Score a checkpoint's labels on other images: mAP@100 and its kin.",
    "transfer": "Judge a checkpoint on another task.",
    "study": "Transfer scores by data size, with the fitted curve.",
    "report": "Write one HTML page from catalogs, findings, runs and results.",
    "compare": "Show two catalogs or two runs side by side.",
    "card": "Write a model card for a checkpoint.",
    "takedown": "Find what holds some images, and write it anew without them.",
    "verify": "Check an artefact against its SHA-256.",
    "doctor": "Tell versions, cores, GPUs, memory and disk.",
}


class _Lazy(click.Group):
    """Lists verbs without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command: click.Command = import_module(f"jftdata.cli.{name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            raise click.UsageError(f"{args[0]!r} is not a verb.{nearest(args[0], VERBS)} See `jftdata --help`.")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="jftdata")
def command() -> None:
    """Data-centric work on large image sets: what would better or more data buy me?"""


def main(args: list[str] | None = None) -> None:
    """Run a verb and leave with its exit code."""
    sys.exit(run(args))


def run(args: list[str] | None = None) -> int:
    """Run a verb; returns its exit code instead of leaving."""
    try:
        command.main(args, prog_name="jftdata", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return 2
    except Interrupted as stop:
        return _fail(str(stop), 128 + stop.signal_number)
    except JftDataError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("stopped; run the same command to go on.", 130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone
        return 0
    except MemoryError:
        return _fail("out of memory. Use fewer workers, a smaller batch_size or fewer images.", 5)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _fail(
                f"the disk is full ({error.filename or 'unknown file'}). Free some space and run the same command.", 5
            )
        traceback.print_exc()
        return _fail("this is a bug in jftdata; please report it with the lines above.", 1)
    except Exception:
        traceback.print_exc()
        return _fail("this is a bug in jftdata; please report it with the lines above.", 1)
    return 0


def _fail(message: str, code: int) -> int:
    print(f"jftdata: error: {message}", file=sys.stderr)
    return code
