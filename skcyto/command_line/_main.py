"""Read the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

_PREDICT = """\
Predict the classes of images with a model that skcyto.save wrote.

The table has one row for each input, in their order: the input, the predicted class, the
probability of every class, and, where an input could not be used, the reason in the column
"error". The column "note" tells of what a prediction lacks, such as one structure of several. The
exit status is 1 if any row has an error. After an interruption, the same command goes on where it
stopped.
"""
_PREDICT_EXAMPLES = """\
examples:
  skcyto predict model/ slides/ --output predictions.csv
  skcyto predict model/ 'slides/*/cell_*.png' --output predictions.parquet
  skcyto predict model/ cells.csv --column image_name -o predictions.csv --device cuda
"""
_EXTRACT = """\
Write a table of radiomics: one row for each pair of image and mask, one column for each feature.

Scans are a .csv list with a column of images and one of masks, whose paths are relative to it, or a
folder with images/ and masks/ (or others: --image, --mask). Where a scan could not be used, the
column "error" has the reason; "note" tells of what is missing, such as one structure of several.
The exit status is 1 if any row has an error. After an interruption, the same command goes on where
it stopped.
"""
_EXTRACT_EXAMPLES = """\
examples:
  skcyto extract scans.csv --output radiomics.csv
  skcyto extract cells/ -o cells.parquet --settings original --label nucleus=1 --label cytoplasm=2
  skcyto extract brats/ -o flair.csv --image '{case}_flair.nii.gz' --mask '{case}_seg.nii.gz'
"""
_EMBED = """\
Embed images by a pretrained vision transformer, into a folder of Parquet files.

Each row is an image: its path, one column for each feature, and, where the image could not be read,
the reason in the column "error". The exit status is 1 if any row has an error. After an
interruption, the same command goes on where it stopped.
"""
_EMBED_EXAMPLES = """\
examples:
  skcyto embed slides/ --output tokens
  skcyto embed cells.csv -o tokens --model vit_small_patch14_dinov2.lvd142m --image-size 112
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str or None, default=None
        Words of the command line; None takes those of this process.

    Returns
    -------
    status : int
        0 when all went well, 1 if the command or any input failed, 130 after an interruption by
        the user.
    """
    from skcyto.command_line._inputs import CommandError

    options = _make_parser().parse_args(arguments)
    run = getattr(import_module(f"skcyto.command_line._{options.command}"), options.command)
    try:
        return run(options)
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _make_parser() -> argparse.ArgumentParser:
    from skcyto import __version__

    parser = argparse.ArgumentParser(
        prog="skcyto", description="Cytology images and radiomics under class imbalance."
    )
    parser.add_argument("--version", action="version", version=f"skcyto {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_predict(
        _add_command(
            commands,
            "predict",
            "predict the classes of images with a saved model",
            _PREDICT,
            _PREDICT_EXAMPLES,
        )
    )
    _add_extract(
        _add_command(
            commands,
            "extract",
            "write a table of radiomics of images and masks",
            _EXTRACT,
            _EXTRACT_EXAMPLES,
        )
    )
    _add_embed(
        _add_command(
            commands, "embed", "write the tokens of images to Parquet", _EMBED, _EMBED_EXAMPLES
        )
    )
    return parser


def _add_command(
    commands: Any, name: str, summary: str, description: str, examples: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_predict(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL", help="folder that skcyto.save made")
    command.add_argument(
        "inputs",
        metavar="IMAGES",
        nargs="+",
        help="image files, folders (with their subfolders), patterns in quotes, or .csv lists; a "
        "model of radiomics takes lists with its columns of images and masks",
    )
    _add_table(command)
    _add_column(command)
    command.add_argument("--device", help="where networks run: cpu, cuda, ...; else as saved")
    command.add_argument(
        "--n-jobs", type=int, metavar="N", help="threads that read images, processes of radiomics"
    )
    command.add_argument(
        "--cache", metavar="FOLDER", help="folder that keeps embeddings or features for other runs"
    )
    command.add_argument(
        "--trust",
        metavar="TYPE",
        action="append",
        default=[],
        help="full name of a type of your own in the model, whose code may run; may be repeated",
    )
    command.add_argument(
        "--ignore-versions",
        action="store_true",
        help="warn only, where the model was saved with other versions of packages",
    )


def _add_extract(command: argparse.ArgumentParser) -> None:
    command.add_argument("inputs", metavar="SCANS", help="a .csv list, or a folder")
    _add_table(command)
    command.add_argument(
        "--settings",
        default="ted1648",
        help="a preset, ted1648 (the default) or original, or a parameter file of pyradiomics",
    )
    command.add_argument(
        "--label",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a structure and its value in the masks; may be repeated. Else all that masks hold",
    )
    command.add_argument(
        "--image-column", default="image", metavar="NAME", help="of a list; default: image"
    )
    command.add_argument(
        "--mask-column", default="mask", metavar="NAME", help="of a list; default: mask"
    )
    command.add_argument(
        "--image",
        default="images/{case}{extension}",
        metavar="PATTERN",
        help="where images lie below a folder; default: %(default)s",
    )
    command.add_argument(
        "--mask",
        default="masks/{case}{extension}",
        metavar="PATTERN",
        help="where masks lie below a folder; default: %(default)s",
    )
    command.add_argument("--n-jobs", type=int, metavar="N", help="scans in work at the same time")
    command.add_argument(
        "--cache", metavar="FOLDER", help="folder that keeps features for other runs"
    )


def _add_embed(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "inputs",
        metavar="IMAGES",
        nargs="+",
        help="image files, folders (with their subfolders), patterns in quotes, or .csv lists",
    )
    command.add_argument(
        "-o", "--output", metavar="FOLDER", required=True, help="folder of Parquet files to write"
    )
    _add_column(command)
    command.add_argument("--model", metavar="NAME", help="a vision transformer of timm")
    command.add_argument(
        "--weights", metavar="FILE", default="pretrained", help="of the model; else from the hub"
    )
    command.add_argument(
        "--image-size", type=int, metavar="PIXELS", help="height and width that the model sees"
    )
    command.add_argument(
        "--tokens",
        choices=["all", "class", "image"],
        default="all",
        help="what becomes of the tokens; default: all, their mean",
    )
    command.add_argument("--device", default="auto", help="cpu, cuda, ...")
    command.add_argument("--n-jobs", type=int, metavar="N", help="threads that read images")
    command.add_argument(
        "--part-size", type=int, default=4096, metavar="N", help="images of one file"
    )
    _add_quiet(command)


def _add_table(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-o", "--output", metavar="TABLE", required=True, help="table to write: .csv or .parquet"
    )
    command.add_argument(
        "--overwrite", action="store_true", help="start anew, and replace a table that is there"
    )
    command.add_argument(
        "--quote-formulas",
        action="store_true",
        help="put an apostrophe before texts that a spreadsheet would take for formulas",
    )
    _add_quiet(command)


def _add_column(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--column", help="column of a .csv list that holds the paths, if it has several columns"
    )


def _add_quiet(command: argparse.ArgumentParser) -> None:
    command.add_argument("-q", "--quiet", action="store_true", help="show no progress")
