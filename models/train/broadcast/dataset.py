"""The labelled pictures, read from the data set's manifest.csv."""

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


class Dataset:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        manifest = self.folder / "manifest.csv"
        if not manifest.is_file():
            raise SystemExit(f"{self.folder} has no manifest.csv; give the data set's folder")
        with manifest.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        if missing := COLUMNS - set(rows[0] if rows else ()):
            raise SystemExit(f"{manifest} has no rows with the columns {', '.join(sorted(missing))}")
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
