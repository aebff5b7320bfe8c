"""The folder beside an output file that holds what an interrupted command has done; removed when it has finished."""

import shutil
from pathlib import Path
from typing import TextIO

import torch

from iid_cl.config.experiment import Config
from iid_cl.config.reading import first_difference
from iid_cl.errors import UserError
from iid_cl.files import DiskFull
from iid_cl.records.cells import CELLS
from iid_cl.records.directory import STATE, RunDirectory, check_directory
from iid_cl.records.provenance import differences, provenance
from iid_cl.runs.begun import BEGUN, config_of, read_begun, write_begun


class Unfinished:
    """A context manager around the work of a command. It locks the folder.

    Args:
        path: the folder; it may hold what the same command has done before.
        config: all settings that the work depends on.
        data: fingerprint of the data.
        data_root: folder of the data sets.
        device: where the work is done.

    Attributes:
        path: the folder.
        log: the command's log.
        notes: what has changed since the work began.
        finished: set it once the output is written. Then leaving removes the folder, as it does where nothing is kept.

    Raises:
        UserError: the folder holds the work of another configuration or of other data.
    """

    def __init__(self, path: Path, config: Config, data: str, data_root: Path | None, device: torch.device) -> None:
        self.path, self.finished, self.notes = path, False, list[str]()
        again, now = (path / BEGUN).is_file(), provenance(device)
        if again:
            self._check(config, data)
            self.notes = differences(read_begun(path).provenance, now)
        self._directory = RunDirectory(path, again=again)
        self.log: TextIO = self._directory.log
        if not again:
            write_begun(self._directory, config, now, data, data_root, command="distill")

    def _check(self, config: Config, data: str) -> None:
        check_directory(self.path)
        begun = read_begun(self.path)
        different = first_difference(config_of(self.path, begun), config)
        if different is not None:
            raise UserError(
                f"{self.path}: holds the unfinished work of another configuration ({different}); remove it, or choose "
                "another --out."
            )
        if begun.data != data:
            raise UserError(f"{self.path}: holds the unfinished work on other data; remove it, or restore the data.")

    def __enter__(self) -> "Unfinished":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._directory.__exit__(kind, *error)
        mistake = kind is not None and issubclass(kind, UserError) and not issubclass(kind, DiskFull)
        saved = any((self.path / STATE).glob("*.json")) and not mistake  # with other settings it is of no use
        if self.finished or not (saved or any((self.path / CELLS).glob("*.json"))):
            shutil.rmtree(self.path, ignore_errors=True)
