"""The labelled pictures, read from the manifest.csv of one folder or more."""

import csv
import dataclasses
import pathlib

# Head: (task in the manifest, its classes in the order of the logits).
# The sports are those of the manifest, in the order of the alphabet.
HEADS = {
    "content": ("a_show_vs_commercial", ["show", "commercial"]),
    "action": ("b_sport_action", ["action", "non_action"]),
    "sport": ("c_sport_type", None),
    "animation": ("d_animated", ["animated", "live_action"]),
}

COLUMNS = {"path", "task", "cls", "split", "group", "source", "w", "h"}


@dataclasses.dataclass
class Row:
    """One label of one picture."""

    picture: int  # index into Dataset.paths
    label: int
    group: str  # video or photo that it comes from
    source: str  # collection that the group comes from
    split: str


def manifest(folder):
    """The rows of a folder's manifest.csv, their paths made whole."""
    file = folder / "manifest.csv"
    if not file.is_file():
        raise SystemExit(f"{folder} has no manifest.csv; give the data set's folder")
    with file.open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    if missing := COLUMNS - set(rows[0] if rows else ()):
        raise SystemExit(f"{file} has no rows with the columns {', '.join(sorted(missing))}")
    return [row | {"path": str(folder / row["path"])} for row in rows]


class Dataset:
    def __init__(self, *folders):
        rows = [row for folder in folders for row in manifest(pathlib.Path(folder))]
        self.paths = sorted({row["path"] for row in rows})
        index = {path: i for i, path in enumerate(self.paths)}
        self.shapes = {index[row["path"]]: (int(row["w"]), int(row["h"])) for row in rows}
        self.labels, self.rows = {}, {}
        for head, (task, labels) in HEADS.items():
            mine = [row for row in rows if row["task"] == task]
            mine = list({row["path"]: row for row in reversed(mine)}.values())[::-1]  # a picture counts once
            labels = labels or sorted({row["cls"] for row in mine})
            self.labels[head] = labels
            self.rows[head] = [
                Row(
                    index[row["path"]],
                    labels.index(row["cls"]),
                    row["group"],
                    row["source"].split("@")[0],
                    row["split"],
                )
                for row in mine
            ]

    def __len__(self):
        return len(self.paths)
