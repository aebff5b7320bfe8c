"""A memory under one budget, renewed from each experience's own data; no training framework is needed."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Unpack

import torch
from torch import Tensor

from iid_cl.budget import Amounts, Budget
from iid_cl.config.base import Precision
from iid_cl.config.distill import CentralizationConfig, NetworkConfig
from iid_cl.config.experiment import Config
from iid_cl.data.accept import as_labels
from iid_cl.data.classes import Classes
from iid_cl.data.given import labelled
from iid_cl.data.images import LabelledImages, Normalization
from iid_cl.data.lens import Lens
from iid_cl.data.mapped import chunks
from iid_cl.distill.progress import progress_bars
from iid_cl.distill.watch import Watch
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.files import memory_of_state, memory_state
from iid_cl.memory.space import Space
from iid_cl.memory.storage import no_room
from iid_cl.methods.base import Features, Method, Scene
from iid_cl.methods.build import make_method
from iid_cl.methods.features import trained_features
from iid_cl.methods.replayed import Replayed
from iid_cl.seeding import make_generator

LABEL_RANGE = 2**15  # memories keep class indices in 16 bits, with sign
HERDING = (NetworkConfig(width=32), CentralizationConfig(epochs=2))  # a larger one takes longer than the distillation
EXAMPLE = "Memory(Distilled(DistillConfig(iterations=100)), ipc=10) with iid_cl.methods.distilled.Distilled"
AUGMENTATIONS = ("color", "crop", "cutout", "scale", "rotate")

ImagesByClass = Mapping[int, Tensor]
OnImages = Callable[[ImagesByClass], None]


class Memory(Replayed):
    """What is remembered of a stream of classes, and a PyTorch data set of it.

    A class that comes back is condensed anew from its new images and its exemplars, each weighted by the number of
    images that it stands for. The same class index under another task label is another class.

    Args:
        method: how classes are condensed, or the name of a method of :data:`iid_cl.config.methods.METHODS` with its
            default settings.
        budget: how much the classes may take, or the number of images per class. Or one of ``ipc``, ``mem_size``,
            ``mem_bytes`` and ``class_bytes`` by name, see :class:`iid_cl.budget.Budget`; by default ``ipc=10``.
        seed: of every random draw.
        normalization: how networks that look at images for the memory see them; None: measured on the first images.
        augmentations: transformations to draw from where the method's settings name none.
        precision: number format of the networks' passes, see :class:`iid_cl.data.lens.Lens`.
        compile: whether these passes are compiled; None: where it pays.
        device: where to compute, and where :meth:`batch` is; None: a GPU, if there is one.
        progress: whether bars show distillations; None: in a terminal, where no ``watch`` observes the update.

    Raises:
        TypeError: an argument that does not exist.

    Attributes:
        exemplars: the memory as stored; None before the first update. Its class indices are the data's, unless an index
            stands for different classes in several tasks: see ``keys``.
        keys: class index and task label of each class of ``exemplars``.
        stands_for: number of images of the stream that each class stands for.
        updates: number of times that the memory has been renewed.

    >>> import torch
    >>> draws = torch.Generator().manual_seed(0)
    >>> images = torch.randint(256, (40, 1, 8, 8), dtype=torch.uint8, generator=draws)
    >>> memory = Memory("random", ipc=3, device="cpu")
    >>> memory.update(images, torch.arange(40) % 2)
    >>> memory  # six images of 64 bytes and a label of two
    Memory(ipc=3: 6 images of 2 classes, 396 bytes)
    >>> x, y = memory.batch(4)
    >>> x.shape, x.dtype
    (torch.Size([4, 1, 8, 8]), torch.float32)
    """

    def __init__(
        self,
        method: Method | str = "auto",
        budget: Budget | int | None = None,
        *,
        seed: int = 0,
        normalization: Normalization | None = None,
        augmentations: tuple[str, ...] = AUGMENTATIONS,
        precision: Precision = "auto",
        compile: bool | None = None,
        device: torch.device | str | None = None,
        progress: bool | None = None,
        **amounts: Unpack[Amounts],
    ) -> None:
        for name in amounts:
            if name not in Amounts.__annotations__:
                raise TypeError(f"Memory() has no argument {name!r}; settings belong to its method, e.g. {EXAMPLE}.")
        self.method = make_method(Config(), method) if isinstance(method, str) else method
        if budget is not None and amounts:
            raise UserError(f"a memory needs one budget; {', '.join(amounts)} and another one are given.")
        default = Budget(**amounts) if amounts else Budget(ipc=10)
        self.budget = default if budget is None else Budget(ipc=budget) if isinstance(budget, int) else budget
        self.normalization, self.augmentations = normalization, augmentations
        self.precision, self.compile, self.progress = precision, compile, progress
        super().__init__(seed, device)
        self.stands_for: dict[int, int] = {}
        self.updates = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.contents()})"

    def contents(self) -> str:
        """The budget, and what is stored."""
        key, amount = self.budget.pair
        memory = self.exemplars
        size = "empty" if memory is None else f"{len(memory)} images of {len(memory.classes)} classes"
        return f"{key}={amount}: {size}, {self.nbytes:,} bytes"

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Restores the memory if the block fails or is interrupted."""
        before, method_before = {**vars(self), "stands_for": dict(self.stands_for)}, self.method.state_dict()
        try:
            yield
        except BaseException:
            vars(self).update(before)
            self.method.load_state_dict(method_before)
            raise

    @property
    def nbytes(self) -> int:
        """Bytes of the memory as stored."""
        return 0 if self.exemplars is None else self.exemplars.nbytes

    def update(
        self,
        images: Any,
        labels: Any = None,
        *,
        tasks: Any = None,
        device: torch.device | str | None = None,
        features: Features | None = None,
        watch: Watch | None = None,
        older: Watch | None = None,
        on_images: OnImages | None = None,
    ) -> None:
        """Condenses the classes of an experience and adds them to the memory. A failure leaves it unchanged.

        Args:
            images: all images of the experience, as a tensor, array or sequence with ``labels``, or as a PyTorch data
                set, see :func:`iid_cl.data.given.labelled`. Without augmentation: the memory augments by itself.
            labels: their class indices (N,).
            tasks: their task labels (N,); None: all 0.
            device: where to compute; None: on the memory's device.
            features: makes the feature extractor of methods that choose real images by features; None: of a network
                that is trained on these images.
            watch: observes the distillation of these classes; its journal keeps what an interrupted update has done.
            older: observes the distillation of older classes, which are distilled anew.
            on_images: called with the images of each class before they are condensed. An exception stops the update.

        Raises:
            UserError: no images, task labels of another kind, a budget without room for one image of each class, or a
                class index beyond 16 bits.
        """
        given = labelled(images, labels)
        if not len(given):
            raise UserError("the experience holds no images.")
        tasks = torch.zeros_like(given.labels) if tasks is None else as_labels(tasks, len(given), "tasks")
        keys, ids = self._identify(given.labels, tasks)
        arrived = {int(c): given.images[ids == c] for c in ids.unique()}
        space = self._space(arrived, given.images[0].numel())
        if on_images is not None:
            on_images(arrived)
        normalization = self.normalization or measure(given.images)
        lens = self._lens(normalization, self.device if device is None else device)
        generator = make_generator(self.seed, "memory", self.updates)
        wanted = False if self.progress is None and watch is not None else self.progress
        watch, older = watch or Watch(), older or Watch()
        features = features or trained_features(*HERDING)
        if watch.journal is not None:
            watch.journal.begin_update()
        with self.transaction(), progress_bars(wanted) as bars:
            scene = Scene(lens, features, generator, watch.beside(bars), older.beside(bars))
            self.exemplars = self._renewed(arrived, space, scene)
            self.keys, self.normalization = keys, normalization
            for label, members in arrived.items():
                self.stands_for[label] = self.stands_for.get(label, 0) + len(members)
            self.updates += 1
        if watch.journal is not None:
            watch.journal.end_update()

    def check(
        self,
        images: LabelledImages,
        tasks: Tensor | None = None,
        *,
        classes: Collection[tuple[int, int]] = (),
        device: torch.device | str = "cpu",
        features: Features | None = None,
    ) -> None:
        """Refuses what :meth:`update` would refuse, from a few images of an experience.

        Args:
            images: a few images of some classes.
            tasks: their task labels; None: all 0.
            classes: class index and task label of further classes of the experience.
            device: where to compute.
            features: makes the feature extractor; None: it is not looked at.

        Raises:
            UserError: see :meth:`update`.
        """
        tasks = torch.zeros_like(images.labels) if tasks is None else tasks
        further = torch.tensor([*classes]).view(-1, 2).to(torch.int64)
        _, ids = self._identify(torch.cat([images.labels, further[:, 0]]), torch.cat([tasks, further[:, 1]]))
        of_images = ids[: len(images)]
        sample = Classes({int(c): images.images[of_images == c] for c in of_images.unique()})
        self.method.check(sample, self._space(ids.unique().tolist(), images.images[0].numel()))
        if features is not None and self.method.needs_features:
            lens = self._lens(self.normalization or measure(images.images), device)
            features(sample.images, lens, make_generator(self.seed, "check"))(images.images)

    def _lens(self, normalization: Normalization, device: torch.device | str) -> Lens:
        return Lens(normalization, self.augmentations, torch.device(device), self.precision, self.compile)

    def _identify(self, labels: Tensor, tasks: Tensor) -> tuple[dict[int, tuple[int, int]], Tensor]:
        """The memory's index of each (class, task), known or new, and of each sample.

        Raises:
            UserError: an index beyond 16 bits.
        """
        keys = dict(self.keys)
        numbers = {key: number for number, key in keys.items()}
        pairs = list(zip(labels.tolist(), tasks.tolist(), strict=True))
        for key in sorted(set(pairs) - set(numbers)):
            if not 0 <= key[0] < LABEL_RANGE:
                raise UserError(f"class index {key[0]}: a memory takes class indices from 0 to {LABEL_RANGE - 1}.")
            number = key[0] if key[0] not in keys else next(n for n in range(LABEL_RANGE) if n not in keys)
            keys[number], numbers[key] = key, number
        return keys, torch.tensor([numbers[pair] for pair in pairs])

    def _space(self, arrived: Iterable[int], image_bytes: int) -> Space:
        """The bytes for each class, old and new."""
        arrived = set(arrived)
        classes = arrived | set(self.stands_for)
        if self.budget.fixed:
            paying = len(classes)
        else:  # a class that comes back may have paid for the header, new classes find it paid
            all_new = self.exemplars is not None and not arrived & set(self.stands_for)
            paying = 0 if all_new else len(arrived)
        room = self.budget.room(len(classes), image_bytes, self.method.compresses)
        return Space(self.budget, room, paying, self.exemplars, dict(self.stands_for))

    def _renewed(self, arrived: ImagesByClass, space: Space, scene: Scene) -> Exemplars:
        """The whole memory after an experience."""
        memory = self._joined(arrived, space, scene)
        if memory.soft_labels is None or not (self.budget.in_bytes or memory.fills_bytes):
            return memory
        cut = memory.take(memory.fitting(space.room))  # all soft labels are now as wide as the widest
        if cut.classes != memory.classes:
            raise no_room(self.budget, space.room)
        return cut

    def _joined(self, arrived: ImagesByClass, space: Space, scene: Scene) -> Exemplars:
        """Condenses the classes that arrived; older classes stay, or shrink where the total is fixed."""
        old, method = space.old, self.method
        if old is None or not method.by_class:
            return method.condense(Classes(arrived), space, scene)
        returned = torch.isin(old.labels, torch.tensor(list(arrived), dtype=torch.int16))
        condensed = method.condense(self._with_old(arrived, old, returned), space, scene)
        if bool(returned.all()):
            return condensed
        rest = old.take((~returned).nonzero().squeeze(1))
        return (method.shrink(rest, space, scene) if self.budget.fixed else rest).merge(condensed)

    def _with_old(self, arrived: ImagesByClass, old: Exemplars, returned: Tensor) -> Classes:
        """The classes; those that come back begin with their exemplars in the memory."""
        images, weights = dict(arrived), dict[int, Tensor]()
        if bool(returned.any()):
            for label, before in old.take(returned.nonzero().squeeze(1)).decoded().by_class().items():
                images[label] = torch.cat([before, arrived[label]])
                share = torch.full((len(before),), self.stands_for[label] / len(before), dtype=torch.float64)
                weights[label] = torch.cat([share, torch.ones(len(arrived[label]), dtype=torch.float64)])
        return Classes(images, weights)

    def resize(self, mem_size: int) -> None:
        """Changes a budget of ``mem_size`` images; each class keeps its first ones.

        Raises:
            UserError: another kind of budget; a size without room for each class.
        """
        if self.budget.key != "mem_size":
            raise UserError(
                f"a memory with a budget of {self.budget.key}: {self.budget.amount} cannot be resized to {mem_size} "
                "images; give it mem_size instead."
            )
        budget = Budget(mem_size=mem_size)
        if self.exemplars is not None:
            image_bytes = next(iter(self.exemplars.by_class().values()))[0].numel()
            rows = self.exemplars.fitting(budget.room(len(self.stands_for), image_bytes), charge_all=False)
            self.exemplars = self.exemplars.take(rows)
        self.budget = budget

    def state_dict(self) -> dict[str, Any]:
        """The memory and all that its next updates depend on, as nested plain values and tensors."""
        normalization = self.normalization
        return {
            "exemplars": None if self.exemplars is None else memory_state(self.exemplars),
            "keys": {number: list(key) for number, key in self.keys.items()},
            "stands_for": dict(self.stands_for),
            "updates": self.updates,
            "budget": self.budget.amount,
            "normalization": None if normalization is None else [list(normalization.mean), list(normalization.std)],
            "method": self.method.state_dict(),
            **self.draws_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over the state of a memory that was made with the same arguments."""
        self.keys = {number: (key[0], key[1]) for number, key in state["keys"].items()}
        self.stands_for, self.updates = dict(state["stands_for"]), state["updates"]
        self.budget = Budget(**{self.budget.key: state["budget"]})
        seen_as = state["normalization"]
        self.normalization = None if seen_as is None else Normalization(tuple(seen_as[0]), tuple(seen_as[1]))
        self.exemplars = None if state["exemplars"] is None else memory_of_state(state["exemplars"])
        self.method.load_state_dict(state["method"])
        self.load_draws(state)

    def describe(self) -> dict[str, Any]:
        """What the memory is, as plain JSON."""
        about: dict[str, Any] = {self.budget.key: self.budget.amount, "seed": self.seed}
        if self.normalization is not None:
            about |= {"mean": list(self.normalization.mean), "std": list(self.normalization.std)}
        if any(task for _, task in self.keys.values()):
            about["keys"] = {str(number): {"class": key[0], "task": key[1]} for number, key in self.keys.items()}
        return about | self.method.describe()


def measure(images: Tensor) -> Normalization:
    """Mean and standard deviation per channel of uint8 images (N, C, H, W)."""
    counts = sum(
        torch.stack([channel.flatten().bincount(minlength=256) for channel in chunk.unbind(1)])
        for chunk in chunks(images)
    )
    assert isinstance(counts, Tensor)  # there are images
    counts, levels = counts.double(), torch.arange(256, dtype=torch.float64, device=counts.device) / 255
    number = counts.sum(1, keepdim=True)
    mean = (counts * levels).sum(1, keepdim=True) / number
    std = ((counts * (levels - mean).square()).sum(1) / (number[:, 0] - 1)).sqrt().clamp_min(1e-3)
    return Normalization(tuple(mean[:, 0].tolist()), tuple(std.tolist()))
