"""Avalanche's loggers, which also log distillation losses and pictures of memories.

Nothing leaves the machine except through Weights & Biases, which runs only if ``loggers`` names it.
"""

import csv
import io
import netrc
import os
import socket
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from avalanche.core import SupervisedPlugin
from avalanche.evaluation.metrics import accuracy_metrics, forgetting_metrics, loss_metrics
from avalanche.logging import CSVLogger, TensorboardLogger, WandBLogger
from PIL import Image

from iid_cl.config.experiment import Config
from iid_cl.config.methods import MethodName
from iid_cl.errors import UserError
from iid_cl.files import write_bytes
from iid_cl.report.pictures import memory_picture
from iid_cl.strategies import MemoryBuffer

CSV_KEYS = {"training_results.csv": 2, "eval_results.csv": 2, "distillation.csv": 3}  # first columns: a row's key
PROJECT = "iid-cl"


def check_loggers(config: Config) -> None:
    """Refuses a logger that would ask for input in the middle of a run.

    Raises:
        UserError: Weights & Biases without a login.
    """
    offline = os.environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun")
    if "wandb" in config.loggers and not offline and not _logged_in():
        raise UserError("loggers: 'wandb' has no login here; run `wandb login`, or set WANDB_MODE=offline.")


def _logged_in() -> bool:
    """Whether Weights & Biases will find its API key."""
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).netloc
    try:
        return "WANDB_API_KEY" in os.environ or netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


class Loggers:
    """The configured loggers of one method of a run; use it as a context manager, and :meth:`attach` it.

    TensorBoard's files go to ``tensorboard/METHOD``, CSV files to ``csv/METHOD``. Weights & Biases writes to ``wandb``,
    a run per method. A resumed run adds to these files; a row that it measures again replaces the earlier one.

    Args:
        config: names the loggers; none by default.
        method: to log.
        folder: the run directory.
        class_names: of the data set, for pictures.
    """

    def __init__(self, config: Config, method: MethodName, folder: Path, class_names: Sequence[str]) -> None:
        self._config, self._method, self._folder, self._class_names = config, method, folder, class_names
        self._csv = folder / "csv" / method
        self._tensorboard: TensorboardLogger | None = None
        self._wandb: WandBLogger | None = None
        self._files: CSVLogger | None = None
        self._distillation: list[tuple[int, int, dict[str, float]]] = []  # experience, iteration, losses
        self._experience = 0

    def __enter__(self) -> "Loggers":
        names = self._config.loggers
        if "tensorboard" in names:
            self._tensorboard = TensorboardLogger(self._folder / "tensorboard" / self._method)
        if "csv" in names:
            self._files = self._csv_logger()
        if "wandb" in names:
            self._wandb = self._wandb_logger()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._tensorboard is not None:
            self._tensorboard.writer.close()
            _without_host(self._folder / "tensorboard" / self._method)
        if self._files is not None:
            self._files.close()
            for name, columns in CSV_KEYS.items():
                _keep_last(self._csv / name, columns)
        if self._wandb is not None:
            self._wandb.wandb.finish(exit_code=0 if error is None else 1)

    def attach(self, strategy: Any, memory: MemoryBuffer | None) -> None:
        """Logs this strategy's training and evaluation, and its memory. Attach to the first of several networks.

        The strategy measures further metrics for it. They draw no random numbers, so results do not change.
        """
        loggers = [logger for logger in (self._tensorboard, self._files, self._wandb) if logger is not None]
        if not loggers:
            return
        strategy.evaluator.metrics += [
            *accuracy_metrics(epoch=True, stream=True),
            *loss_metrics(epoch=True, experience=True, stream=True),
            *forgetting_metrics(experience=True, stream=True),
        ]
        strategy.evaluator.loggers = [*strategy.evaluator.loggers, *loggers]
        strategy.plugins.append(_MemoryLog(self, memory))
        if memory is not None and memory.on_step is not None:
            memory.on_step = self._also_losses(memory.on_step)

    def begin(self, experience: int) -> None:
        """Attributes the losses that follow to this experience."""
        self._experience = experience

    def memory(self, memory: MemoryBuffer, step: int) -> None:
        """Logs the memory after an experience, and its distillation losses."""
        if memory.exemplars is None:
            return
        picture = Image.open(io.BytesIO(memory_picture(memory.exemplars, self._class_names))).convert("RGB")
        for logger in (self._tensorboard, self._wandb):
            if logger is not None:
                logger.log_single_metric("Memory", picture, step)
                logger.log_single_metric("Memory_bytes", memory.nbytes, step)
        if self._wandb is not None:
            self._wandb_curves(step)

    def _also_losses(self, before: Callable[..., None]) -> Callable[[int, dict[str, float]], None]:
        def on_step(iteration: int, losses: dict[str, float]) -> None:
            before(iteration, losses)
            self._losses(iteration, losses)

        return on_step

    def _losses(self, iteration: int, losses: Mapping[str, float]) -> None:
        self._distillation.append((self._experience, iteration, dict(losses)))
        if self._tensorboard is not None:
            for name, value in losses.items():
                tag = f"Distillation/{name}/Exp{self._experience:03d}"
                self._tensorboard.log_single_metric(tag, value, iteration)
        if self._files is not None:
            with (self._csv / "distillation.csv").open("a", encoding="utf-8", newline="") as file:
                rows = [(self._experience, iteration, name, f"{value:.6g}") for name, value in losses.items()]
                csv.writer(file).writerows(rows)

    def _csv_logger(self) -> CSVLogger:
        """Avalanche's logger empties its files; here a resumed run gets its rows back."""
        paths = [self._csv / name for name in CSV_KEYS]
        rows = {path: path.read_text(encoding="utf-8").partition("\n")[2] for path in paths if path.is_file()}
        logger = CSVLogger(str(self._csv))
        if paths[2] not in rows:
            paths[2].write_text("training_exp,iteration,loss,value\n", encoding="utf-8")
        for file, path in ((logger.training_file, paths[0]), (logger.eval_file, paths[1])):
            file.write(rows.get(path, ""))
            file.flush()
        return logger

    def _wandb_logger(self) -> WandBLogger:
        import wandb

        identity = self._folder / "wandb" / f"{self._method}.id"  # by which a resumed run finds its log
        if not identity.is_file():
            write_bytes(identity, uuid.uuid4().hex[:8].encode())
        return _WandB(
            project_name=PROJECT,
            run_name=f"{self._folder.name}-{self._method}",
            save_code=False,
            config=self._config.model_dump(mode="json"),
            dir=self._folder,
            params={
                "id": identity.read_text(encoding="utf-8"),
                "resume": "allow",
                "group": self._folder.name,
                "settings": wandb.Settings(console="off", silent=True),
            },
        )

    def _wandb_curves(self, step: int) -> None:
        """A chart per experience: steps may only grow here, and those of a distillation would block training's."""
        assert self._wandb is not None
        curves = [(i, losses) for experience, i, losses in self._distillation if experience == self._experience]
        if curves:
            names = list(curves[0][1])
            chart = self._wandb.wandb.plot.line_series(
                xs=[iteration for iteration, _ in curves],
                ys=[[losses[name] for _, losses in curves] for name in names],
                keys=names,
                title=f"Distillation, experience {self._experience}",
                xname="iteration",
            )
            self._wandb.log_single_metric(f"Distillation/Exp{self._experience:03d}", chart, step)


class _WandB(WandBLogger):
    """Avalanche's logger handles values with parts of Weights & Biases that no longer exist."""

    def log_single_metric(self, name: str, value: Any, x_plot: int) -> None:
        """Logs a number, a picture or a chart at step ``x_plot``."""
        self.step = x_plot
        self.wandb.log({name: self.wandb.Image(value) if isinstance(value, Image.Image) else value}, step=x_plot)


class _MemoryLog(SupervisedPlugin):
    """Logs the memory when an experience ends. Belongs after the plugins that fill the memory."""

    def __init__(self, loggers: Loggers, memory: MemoryBuffer | None) -> None:
        super().__init__()
        self._loggers, self._memory = loggers, memory

    def before_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        """The first hook of an experience; the next one may fill the memory."""
        self._loggers.begin(strategy.experience.current_experience)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        if self._memory is not None:
            self._loggers.memory(self._memory, strategy.clock.train_iterations)


def _without_host(folder: Path) -> None:
    """Takes the machine's name out of the names of TensorBoard's files."""
    for file in folder.glob("events.out.tfevents.*"):
        name = file.name.replace(f".{socket.gethostname()}.", ".host.")
        if name != file.name:
            file.rename(file.with_name(name))


def _keep_last(path: Path, columns: int) -> None:
    """Keeps the last of the rows that agree in their first ``columns``."""
    if not path.is_file():
        return
    head, *rows = path.read_text(encoding="utf-8").splitlines()
    last = {tuple(row.split(",")[:columns]): row for row in rows}
    write_bytes(path, "".join(f"{line}\n" for line in [head, *last.values()]).encode())
