"""Tiny ImageNet in its publisher's layout."""

from __future__ import annotations

from pathlib import Path

from stalwart.core.component import component
from stalwart.core.contracts import Examples, Info
from stalwart.core.errors import DataError
from stalwart.feed.files import FileExamples, folders_in, images_under

MAX_LIST_BYTES = 64 * 1024**2
"""The largest list of names or labels that is read."""


@component
class tinyimagenet:
    """Tiny ImageNet: 64×64 colour images of 200 classes, or of those that are there.

    The labels of its test images were never published. Its public val split therefore serves as 'test' here, as it
    does in papers, and a val split is to be divided from train.

    Read: train/WNID/images/*.JPEG, val/images/*.JPEG with val/val_annotations.txt (file, WNID, ...), or val/WNID/...
    as some tools rearrange it; wnids.txt for the classes' order and words.txt for their names, where they are there.
    """

    root: str
    """The folder that holds `train` and `val`."""

    def splits(self) -> tuple[str, ...]:
        root = Path(self.root)
        for part in ("train", "val"):
            if not (root / part).is_dir():
                raise DataError(f"tinyimagenet: expected the folder {root / part} (unpack tiny-imagenet-200.zip).")
        return ("train", "test")

    def open(self, split: str) -> Examples:
        if split not in self.splits():
            raise DataError(f"tinyimagenet: split must be 'train' or 'test' (its public val). Got {split!r}.")
        root = Path(self.root)
        wnids = self._wnids(root)
        if split == "train":
            found = [(file, wnid) for wnid in wnids for file in images_under(root / "train" / wnid, root)]
        else:
            found = self._val(root, wnids)
        index = {wnid: place for place, wnid in enumerate(wnids)}
        missing = sorted(set(wnids) - {wnid for _, wnid in found})
        if missing:
            raise DataError(f"tinyimagenet: expected images of every class in {split}. Got none of {missing[0]}.")
        info = Info(
            name="Tiny ImageNet" + (" (its public val)" if split == "test" else ""),
            classes=self._names(root, wnids),
            licence="for non-commercial research and teaching only (ImageNet's terms)",
            origin="Stanford CS231n, a part of ILSVRC 2012 at 64×64 pixels; 'test' is its public val split",
            size=(64, 64),
        )
        return FileExamples(info, [file for file, _ in found], [index[wnid] for _, wnid in found])

    def _wnids(self, root: Path) -> list[str]:
        folders = [place.name for place in folders_in(root / "train", root)]
        if not folders:
            raise DataError(f"{root / 'train'}: expected a folder for each class. Got none.")
        listed = root / "wnids.txt"
        if not listed.is_file():
            return folders
        wnids = [line.strip() for line in _lines(listed) if line.strip()]
        odd = sorted(set(wnids) ^ set(folders))
        if odd or len(set(wnids)) != len(wnids):
            what = odd[0] if odd else "a class twice"
            raise DataError(f"{listed}: expected each class in train, once. Got {what!r} in one of the two alone.")
        return wnids

    def _val(self, root: Path, wnids: list[str]) -> list[tuple[str, str]]:
        listed = root / "val" / "val_annotations.txt"
        if not listed.is_file():
            return [(file, wnid) for wnid in wnids for file in images_under(root / "val" / wnid, root)]
        files = {Path(file).name: file for file in images_under(root / "val" / "images", root)}
        found = []
        for number, line in enumerate(_lines(listed), 1):
            if not line.strip():
                continue
            name, wnid, *_ = [*line.split("\t"), ""]
            if name not in files or wnid not in wnids:
                raise DataError(
                    f"{listed}, line {number}: expected an image in val/images and its class. Got {line!r}."
                )
            found.append((files[name], wnid))
        return found

    def _names(self, root: Path, wnids: list[str]) -> tuple[str, ...]:
        """The first of each class's words; the WNID itself where there is none or it is another class's too."""
        listed = root / "words.txt"
        pairs = (line.partition("\t") for line in _lines(listed)) if listed.is_file() else ()
        words = {wnid: text.split(",")[0].strip() for wnid, _, text in pairs}
        names = [words.get(wnid) or wnid for wnid in wnids]
        return tuple(n if names.count(n) == 1 else f"{n} ({w})" for n, w in zip(names, wnids, strict=True))


def _lines(path: Path) -> list[str]:
    if path.stat().st_size > MAX_LIST_BYTES:
        raise DataError(f"{path}: expected at most {MAX_LIST_BYTES:,} bytes. Got {path.stat().st_size:,}.")
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected a text file. Got {error}.") from None
