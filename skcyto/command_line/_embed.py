"""The command ``skcyto embed``."""

from __future__ import annotations

import argparse
import sys

from skcyto.command_line._inputs import CommandError, find_images, tell_ignored
from skcyto.command_line._table import resolve_output, sum_up


def embed(options: argparse.Namespace) -> int:
    """Embed images into a folder of Parquet files.

    Parameters
    ----------
    options : argparse.Namespace
        As the parser gives them.

    Returns
    -------
    status : int
        Exit status.

    Raises
    ------
    CommandError
        If the command cannot be done.
    """
    from skcyto.exceptions import DeviceMemoryError, PretrainedWeightsError
    from skcyto.feature_extraction import EVA02TokenEmbedder, embed_to_parquet

    inputs = find_images(options.inputs, options.column)
    tell_ignored(inputs)
    embedder = EVA02TokenEmbedder(
        weights=options.weights,
        image_size=options.image_size,
        tokens=options.tokens,
        device=options.device,
        n_jobs=options.n_jobs,
        on_error="nan",
    )
    if options.model is not None:
        embedder.set_params(model_name=options.model)
    output = resolve_output(options.output)
    paths = [path for (path,) in inputs.rows]
    try:
        embed_to_parquet(
            embedder, paths, output, part_size=options.part_size, verbose=not options.quiet
        )
    except KeyboardInterrupt:
        print(
            f"stopped: finished parts are kept in {output}. The same command goes on from there",
            file=sys.stderr,
        )
        return 130
    except (ImportError, OSError, ValueError, DeviceMemoryError, PretrainedWeightsError) as error:
        raise CommandError(str(error)) from error
    return sum_up(inputs, _read_errors(output), str(output))


def _read_errors(output: object) -> list[str | None]:
    import pyarrow.dataset as ds

    return ds.dataset(str(output), format="parquet").to_table(["error"])["error"].to_pylist()
