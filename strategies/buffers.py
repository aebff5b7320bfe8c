"""A memory as Avalanche's storage policy."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypedDict, Unpack, cast

import torch
from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.training.storage_policy import ExemplarsBuffer
from torch import Tensor

from iid_cl.budget import Budget
from iid_cl.config.base import Precision
from iid_cl.data.images import Normalization
from iid_cl.distill.journal import Journal
from iid_cl.distill.progress import progress_bars
from iid_cl.distill.watch import OnSnapshot, OnStart, OnStep, Snapshots, Watch
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.files import save_memory
from iid_cl.methods.base import Features, Method
from iid_cl.methods.memory import AUGMENTATIONS, Memory

from .features import FeaturesFactory, device_of, of_factory, of_learner
from .forms import Form
from .origins import Intake, Origins
from .presentation import Presentation
from .reading import parts_of
from .samples import Samples, classes_of, read_experience
from .staging import Staging
from .talking import LossLog, bars_wanted
from .views import ClassGroups

FEW = 16  # samples of each source that are read before an experience

ImagesByClass = Mapping[int, Tensor]
OnImages = Callable[[Any, ImagesByClass], None]
"""Takes an experience and the uint8 images (n_c, C, H, W) of each class that the memory is about to condense."""


class BudgetArguments(TypedDict, total=False):
    """Budgets other than images per class, see :class:`MemoryBuffer`."""

    mem_size: int | None
    mem_bytes: int | None
    class_bytes: int | None


class RareArguments(BudgetArguments, total=False):
    """Budgets, how networks' passes are computed, and what is shown of them, see :class:`MemoryBuffer`."""

    precision: Precision
    compile: bool | None
    progress: bool | None


class MemoryArguments(RareArguments, total=False):
    """Further arguments of every buffer, see :class:`MemoryBuffer`."""

    seed: int
    normalization: Normalization | None


class MemoryBuffer(ClassGroups, ExemplarsBuffer):
    """A memory under one budget, renewed from each experience's data.

    It fits every Avalanche plugin that takes a storage policy, for example
    ``ReplayPlugin(mem_size=buffer.max_size, storage_policy=buffer)``, which calls ``update`` with the current
    experience. See :class:`iid_cl.methods.memory.Memory` for classes that come back.

    Args:
        method: how classes are condensed.
        ipc: images per class; the memory grows with the classes. Or a budget.
        seed: of every random draw of the memory.
        normalization: mean and standard deviation per channel. Networks that look at images for the memory see them
            normalised by it; None: measured on the first experience. Give it when samples are normalised already.
        device: where to distil; None takes the strategy's device.
        augmentations: transformations to draw from where the method's settings name none.
        features: makes the feature extractor of selection rules from (images_by_class, strategy, generator); it takes
            images normalised by ``normalization``. None takes the strategy's model at the end of the experience, which
            sees images through the eval transforms of their experience, see
            :func:`iid_cl.strategies.features.penultimate`. A host-free :data:`iid_cl.methods.base.Features` goes to
            ``own_features`` instead.
        on_step: called now and then with a distillation's iteration and losses.

    Further arguments: in place of ``ipc`` one of ``mem_size`` (images in total) and ``mem_bytes`` (bytes in total), for
    which older classes shrink as new ones come, or ``class_bytes`` (bytes per class). ``precision`` and ``compile`` of
    the networks' passes, see :class:`iid_cl.data.lens.Lens`. ``progress``: whether bars show distillations; by default
    they do in a terminal, where the strategy has Avalanche's ``InteractiveLogger``. Losses go to its loggers.

    Attributes:
        memory: the memory itself.
        seconds: time spent making the memory so far.
        number_samples: labels of samples carry the exemplar's number; set by :class:`SoftLabelPlugin`.
        on_images: called with an experience and its images before they are condensed. An exception stops the update.
        on_start: called when a distillation begins, with its numbers of classes and of iterations.
        on_losses: like ``on_step``, for arriving classes only.
        on_snapshot: called with the iteration and the images so far at each iteration of ``snapshots``, for arriving
            classes. Classes that have fewer images than asked come in separate calls.
        snapshots: see :class:`iid_cl.distill.watch.Watch`.
        journal: keeps the finished parts of an update that may be interrupted and begun again.
        own_features: features that do not come from the strategy.

    >>> from iid_cl.methods.real import Real
    >>> buffer = MemoryBuffer(Real("closest"), mem_size=100)
    >>> buffer.max_size, buffer.nbytes, len(buffer.buffer)
    (100, 0, 0)
    """

    def __init__(
        self,
        method: Method,
        ipc: int | Budget | None = None,
        *,
        device: torch.device | str | None = None,
        augmentations: Sequence[str] = AUGMENTATIONS,
        features: FeaturesFactory | None = None,
        on_step: OnStep | None = None,
        seed: int = 0,
        normalization: Normalization | None = None,
        **arguments: Unpack[RareArguments],
    ) -> None:
        others = ("precision", "compile", "progress")
        budgets = {key: value for key, value in arguments.items() if key not in others}
        budget = ipc if isinstance(ipc, Budget) else Budget(ipc, **cast(dict[str, int], budgets))  # refuses other keys
        super().__init__(max_size=budget.mem_size or 0)
        self.memory = Memory(
            method, budget, seed=seed, normalization=normalization, augmentations=tuple(augmentations),
            precision=arguments.get("precision", "auto"), compile=arguments.get("compile"),
        )  # fmt: skip
        self.device = device
        self._features = features
        self._named = normalization  # the one that samples may have already; the memory may measure another
        self.own_features: Features | None = None
        self.progress = arguments.get("progress")
        self.seconds = 0.0
        self._losses = LossLog()
        self.number_samples = False
        self.on_images: OnImages | None = None
        self.on_step = on_step
        self.on_start: OnStart | None = None
        self.on_losses: OnStep | None = None
        self.on_snapshot: OnSnapshot | None = None
        self.snapshots: Snapshots = ()
        self.journal: Journal | None = None
        self._origins: Origins | None = None
        self._staging = Staging()

    @property
    def method(self) -> Method:
        """How classes are condensed."""
        return self.memory.method

    @property
    def budget(self) -> Budget:
        """How much the memory may hold."""
        return self.memory.budget

    @property
    def exemplars(self) -> Exemplars | None:
        """The memory as stored; None before the first update."""
        return self.memory.exemplars

    @property
    def keys(self) -> dict[int, tuple[int, int]]:
        """Class index and task label of each class of ``exemplars``."""
        return self.memory.keys

    @property
    def normalization(self) -> Normalization | None:
        """How networks that look at images for the memory see them; None before the first update measures it."""
        return self.memory.normalization

    @property
    def updates(self) -> int:
        """Number of times that the memory has been renewed."""
        return self.memory.updates

    @property
    def nbytes(self) -> int:
        """Bytes of the memory as stored."""
        return self.memory.nbytes

    @property
    def staged_bytes(self) -> int:
        """Bytes of an online stream's images that wait for the end of their task, not counted in ``nbytes``."""
        return self._staging.nbytes

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.memory.contents()})"

    def update(self, strategy: Any, **kwargs: Any) -> None:
        """Condenses the classes of the strategy's current experience and adds them to the memory."""
        self.post_adapt(strategy, strategy.experience)

    def update_from_dataset(self, new_data: AvalancheDataset, strategy: Any = None) -> None:
        """:meth:`update` from a data set alone, as with Avalanche's own buffers.

        Args:
            new_data: all images of an experience.
            strategy: whose model makes features, for methods that choose by features.
        """
        self.post_adapt(strategy, SimpleNamespace(dataset=new_data))

    def post_adapt(self, agent_state: Any, exp: Any) -> None:
        """:meth:`update` under Avalanche's newer name.

        Raises:
            UserError: images of an unusable type, or a budget without room for one image of each class.
        """
        started = time.perf_counter()
        samples = self._staging.collect(exp, self._read(exp.dataset))
        if samples is None:
            return
        with self.memory.transaction():
            origins = self._renew(samples, agent_state, exp)
            buffer = self._as_avalanche(origins)
        self.buffer, self._origins = buffer, origins
        self._staging.clear()
        if self.budget.key != "mem_size":
            self.max_size = len(self.buffer)
        self.seconds += time.perf_counter() - started

    def check(self, strategy: Any, experience: Any) -> None:
        """Refuses an experience that :meth:`update` would refuse after training on it; reads a few samples only.

        Of an online stream's parts, the first of each task is looked at.

        Raises:
            UserError: as :meth:`update`.
        """
        if getattr(experience, "access_task_boundaries", False) and not experience.is_first_subexp:
            return
        few = self._read(experience.dataset, FEW)
        self.memory.check(
            few.images,
            few.tasks,
            classes=classes_of(experience.dataset, few),
            device=self._device(strategy),
            features=None if self.own_features is not None else self._features_of(strategy, self._intake(few)),
        )

    def _read(self, dataset: AvalancheDataset, few: int | None = None) -> Samples:
        samples = read_experience(dataset, self._named, few)
        if self.exemplars is not None:
            before, now = self.exemplars.shape, tuple(samples.images.images.shape[1:])
            if before != now:
                raise UserError(
                    f"images of {now} (channels, height, width) cannot join a memory of {before}; resize them in the "
                    "data set, or use a memory for each size."
                )
        return samples

    def _intake(self, samples: Samples) -> Intake:
        stored = None if self.exemplars is None else self.exemplars.decoded()
        return Intake(stored, self._origins, self.keys, samples)

    def _features_of(self, strategy: Any, intake: Intake) -> Features:
        if self.own_features is not None:
            return self.own_features
        return of_learner(strategy, intake) if self._features is None else of_factory(self._features, strategy)

    def _device(self, strategy: Any) -> torch.device | str:
        return self.device if self.device is not None else device_of(strategy)

    def _renew(self, samples: Samples, strategy: Any, experience: Any) -> Origins:
        on_images, intake = self.on_images, self._intake(samples)
        watch = Watch(self.on_step, self.on_snapshot, self.snapshots, self.journal, self.on_start)
        own = None if self.on_step is not None else self._losses.of(strategy)  # the user takes them
        with progress_bars(bars_wanted(strategy) if self.progress is None else self.progress) as bars:
            self.memory.update(
                samples.images,
                tasks=samples.tasks,
                device=self._device(strategy),
                features=self._features_of(strategy, intake),
                watch=watch.beside(Watch(self.on_losses)).beside(bars).beside(own or Watch()),
                older=Watch(self.on_step, journal=self.journal, on_start=self.on_start).beside(bars),
                on_images=None if on_images is None else lambda arrived: on_images(experience, arrived),
            )
        assert self.exemplars is not None  # it has been renewed
        return intake.of_memory(self.exemplars.decoded(), self.keys)

    def _as_avalanche(self, origins: Origins) -> AvalancheDataset:
        assert self.exemplars is not None
        return origins.as_avalanche(self.exemplars.decoded(), self.keys, self.number_samples)

    def resize(self, strategy: Any, new_size: int) -> None:
        """Changes a budget of ``mem_size`` images; each class keeps its first ones.

        Raises:
            UserError: another kind of budget, unless the size stays; a size without room for each class.
        """
        if new_size == self.max_size:
            return
        before = self.exemplars
        self.memory.resize(new_size)
        if before is not None and self.exemplars is not None and self._origins is not None:
            self._origins = self._origins.first_of(before.decoded(), self.exemplars.decoded())
            self.buffer = self._as_avalanche(self._origins)
        self.max_size = new_size

    def state_dict(self) -> dict[str, Any]:
        """The memory and all that its next updates depend on, as nested plain values and tensors.

        Raises:
            UserError: images of an online stream wait for the end of their task, or images came with different
                transforms.
        """
        if self.staged_bytes:
            raise UserError("the memory is in the middle of a task of an online stream; save its state at the end.")
        if self._origins is not None and len(self._origins.presentations) > 1:
            raise UserError(
                "the memory's images came with different transforms, which its state does not hold; keep the images "
                "with save(path), or use the same transforms in all experiences."
            )
        state = self.memory.state_dict()
        form = None if self._origins is None else self._origins.presentations[-1].form.state()
        return {**state, "form": form, "max_size": self.max_size, "seconds": self.seconds}

    def load_state_dict(self, state: Mapping[str, Any], like: AvalancheDataset | None) -> None:
        """Takes over the state of a buffer that was made with the same arguments.

        Exemplars take the transforms of ``like``, the data set of the last experience.
        """
        self.memory.load_state_dict(state)
        self.max_size, self.seconds = state["max_size"], state["seconds"]
        if self.exemplars is None or like is None:
            return
        decoded, form = self.exemplars.decoded(), Form.from_state(state["form"])
        presentation = Presentation.like(parts_of(like)[0], form)
        self._origins = Origins.all_like(presentation, len(decoded), hasattr(like, "targets_task_labels"))
        self.buffer = self._as_avalanche(self._origins)

    def save(self, path: Path | str, metadata: Mapping[str, Any] | None = None) -> None:
        """Writes the memory as safetensors; ``metadata`` (plain JSON) joins the memory's own.

        Raises:
            UserError: the memory is still empty, or the file cannot be written.
        """
        if self.exemplars is None:
            raise UserError(f"{path}: the memory is still empty; save it after the first experience.")
        save_memory(Path(path), self.exemplars, {**self.describe(), **(metadata or {})})

    def describe(self) -> dict[str, Any]:
        """What the memory is, as plain JSON."""
        return self.memory.describe()
