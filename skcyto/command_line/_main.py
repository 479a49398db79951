"""Read the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

_PREDICT = """\
Predict the classes of images with a model that skcyto.save wrote.

The table has one row for each input, in their order: the input, the predicted class, the
probability of every class, and, where an input could not be used, the reason in the column
"error". The column "note" tells of what a prediction lacks, such as one structure of several. The
exit status is 1 if any row has an error. After an interruption, the same command goes on where it
stopped.
"""
_EXAMPLES = """\
examples:
  python -m skcyto predict model/ slides/ --output predictions.csv
  python -m skcyto predict model/ 'slides/*/cell_*.png' --output predictions.parquet
  python -m skcyto predict model/ cells.csv --column image_name -o predictions.csv --device cuda
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
    from skcyto.command_line._predict import CommandError, predict

    options = _make_parser().parse_args(arguments)
    try:
        return predict(options)
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _make_parser() -> argparse.ArgumentParser:
    from skcyto import __version__

    parser = argparse.ArgumentParser(
        prog="python -m skcyto", description="Cytology images under class imbalance."
    )
    parser.add_argument("--version", action="version", version=f"skcyto {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "predict",
        help="predict the classes of images with a saved model",
        description=_PREDICT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("model", metavar="MODEL", help="folder that skcyto.save made")
    command.add_argument(
        "inputs",
        metavar="IMAGES",
        nargs="+",
        help="image files, folders (with their subfolders), patterns in quotes, or .csv lists; a "
        "model of radiomics takes lists with its columns of images and masks",
    )
    command.add_argument(
        "-o", "--output", metavar="TABLE", required=True, help="table to write: .csv or .parquet"
    )
    command.add_argument(
        "--column", help="column of a .csv list that holds the paths, if it has several columns"
    )
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
    command.add_argument(
        "--overwrite", action="store_true", help="start anew, and replace a table that is there"
    )
    command.add_argument(
        "--quote-formulas",
        action="store_true",
        help="put an apostrophe before texts that a spreadsheet would take for formulas",
    )
    command.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    return parser
