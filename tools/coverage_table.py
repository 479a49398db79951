"""Write the coverage by folder into ``benchmarks/results/coverage.md``; ``make coverage`` calls it.

Usage: coverage_table.py COVERAGE.json, as ``coverage json`` writes it.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path, PurePosixPath

TABLE = Path(__file__).resolve().parents[1] / "benchmarks" / "results" / "coverage.md"
COUNTED = ("num_statements", "covered_lines", "num_branches", "covered_branches")


def table(files: dict[str, dict[str, int]]) -> str:
    """Lay counts of lines and branches out by folder, the whole package last."""
    folders: dict[str, list[int]] = defaultdict(lambda: [0] * len(COUNTED))
    for name, summary in files.items():
        folder = PurePosixPath(name).parent
        for row in (str(folder), "**all**"):
            for index, key in enumerate(COUNTED):
                folders[row][index] += summary[key]
    rows = sorted(folders.items(), key=lambda row: (row[0] == "**all**", row[0]))
    lines = [
        "| folder | statements | lines, % | branches | branches, % |",
        "|---|---:|---:|---:|---:|",
    ]
    for folder, (statements, reached, branches, taken) in rows:
        if statements:
            shares = [
                f"{100 * part / all_:.1f}" if all_ else ""
                for part, all_ in ((reached, statements), (taken, branches))
            ]
            lines.append(f"| {folder} | {statements} | {shares[0]} | {branches} | {shares[1]} |")
    return "\n".join([*lines, ""])


def main(report: Path) -> None:
    """Read a report and put its figures below what the page says of them."""
    files = json.loads(report.read_text("utf-8"))["files"]
    counts = {name.replace("\\", "/"): entry["summary"] for name, entry in files.items()}
    introduction = TABLE.read_text("utf-8").split("| folder |")[0] if TABLE.exists() else ""
    TABLE.write_text(introduction + table(counts), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
