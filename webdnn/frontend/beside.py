"""Files that a model's file names: external data, shards of weights.

    beside(Path("model.json"), "group1-shard1of2.bin", "model.json: weights")

They lie in the folder of the model's file or below it; where the model's file is a link, as in a
Hugging Face cache, also in the folder of its target. Whatever leads elsewhere is refused: a model
of a stranger does not choose which files of this machine are read.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import ModelError


def beside(model: Path, name: str, what: str) -> Path:
    """The file of this name, links followed; `what` begins the message of an error.

    Raises ModelError where it leads out of the folders that may hold it, or does not exist.
    """
    parts = name.replace("\\", "/").split("/")
    if parts[0] in ("", "~") or ".." in parts or ":" in parts[0] or "\0" in name:
        raise ModelError(f"{what} in {name!r}, which is not beside the model: refused")
    folders = list(dict.fromkeys((model.parent.resolve(), model.resolve().parent)))
    for folder in folders:
        try:
            found = folder.joinpath(*parts).resolve()
            there = found.is_file()
        except (OSError, RuntimeError, ValueError) as error:  # a circle of links, too long a name
            raise ModelError(f"{what} in {name!r}: {error}") from None
        if not any(map(found.is_relative_to, folders)):
            raise ModelError(
                f"{what} in {name!r}, a link to {found}, which is not beside the model: refused. "
                "If that is meant, put the file itself there"
            )
        if there:
            return found
    raise ModelError(
        f"{what} in {name!r}, but "
        f"{' and '.join(str(folder.joinpath(*parts)) for folder in folders)} "
        f"{'do' if len(folders) > 1 else 'does'} not exist; put that file beside the model"
    )


__all__ = ["beside"]
