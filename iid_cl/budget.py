"""Budgets: how much a memory may hold."""

from dataclasses import dataclass
from typing import TypedDict

from iid_cl.errors import UserError

LABEL_BYTES = 2
KEYS = ("ipc", "mem_size", "mem_bytes", "class_bytes")  # the ways to bound a memory


class Amounts(TypedDict, total=False):
    """A budget as keyword arguments, see :class:`Budget`."""

    ipc: int
    mem_size: int
    mem_bytes: int
    class_bytes: int


@dataclass(frozen=True)
class Budget:
    """The size of a memory, set in exactly one of four ways. All classes seen get equal shares.

    A number of images stands for the bytes of that many full-size images with their labels. A method may store
    something else in those bytes. A remainder of less than one image per class stays unused.

    >>> growing = Budget(ipc=10)
    >>> growing.room(classes=5, image_bytes=784)  # bytes per class: ten images, each with a label of two bytes
    7860
    >>> growing.allowed(classes=5, image_bytes=784)
    39300
    >>> Budget(mem_bytes=20_000).images(classes=5, image_bytes=784)
    25

    Attributes:
        ipc: images per class; the memory grows with the number of classes.
        class_bytes: bytes per class; the memory grows likewise.
        mem_size: images in total; older classes shrink when new ones come.
        mem_bytes: bytes in total; older classes shrink likewise.

    Raises:
        UserError: not exactly one is set, or it is below 1.
    """

    ipc: int | None = None
    mem_size: int | None = None
    mem_bytes: int | None = None
    class_bytes: int | None = None

    def __post_init__(self) -> None:
        amounts = [f"{key}: {value}" for key, value in vars(self).items() if value is not None]
        if len(amounts) != 1:
            raise UserError(
                f"a memory needs exactly one of ipc, mem_size, mem_bytes and class_bytes; set are "
                f"{', '.join(amounts) or 'none'}."
            )
        if self.amount < 1:
            raise UserError(f"{self.key}: {self.amount} is not a memory; use at least 1.")

    @property
    def key(self) -> str:
        """Name of the key that is set."""
        return next(key for key, value in vars(self).items() if value is not None)

    @property
    def amount(self) -> int:
        """Value of that key."""
        return int(getattr(self, self.key))

    @property
    def pair(self) -> tuple[str, int]:
        """Key and amount, as in result files."""
        return self.key, self.amount

    def __lt__(self, other: "Budget") -> bool:
        """By key, then by amount: the order of tables and figures."""
        return self.pair < other.pair

    @property
    def fixed(self) -> bool:
        """Whether the total stays the same when classes are added."""
        return self.key in ("mem_size", "mem_bytes")

    @property
    def in_bytes(self) -> bool:
        """Whether all stored bytes count, soft labels included, and not the number of images."""
        return self.key in ("mem_bytes", "class_bytes")

    def allowed(self, classes: int, image_bytes: int) -> int:
        """Bytes for ``classes`` classes together; ``image_bytes`` is C * H * W of a full-size image."""
        unit = 1 if self.in_bytes else image_bytes + LABEL_BYTES
        return self.amount * unit * (1 if self.fixed else classes)

    def images(self, classes: int, image_bytes: int) -> int:
        """Number of full-size images, labels included, for ``classes`` classes together; at least 1."""
        images = self.amount // (image_bytes + LABEL_BYTES) if self.in_bytes else self.amount
        return max(1, images * (1 if self.fixed else classes))

    def room(self, classes: int, image_bytes: int, compressed: bool = False) -> int:
        """Bytes for each of ``classes`` classes; ``image_bytes`` is C * H * W of a full-size image.

        With ``compressed`` images a class may have fewer bytes than a full-size image takes.

        Raises:
            UserError: not even one image of each class fits.
        """
        unit = image_bytes + LABEL_BYTES
        share = self.amount // classes if self.fixed else self.amount
        room = share if self.in_bytes else share * unit
        if room < (1 if compressed and self.in_bytes else unit):
            least = classes * unit if self.key == "mem_bytes" else unit if self.in_bytes else classes
            raise UserError(
                f"memory.{self.key}: {self.amount} has no room for one image of each of {classes} "
                f"class{'es' if classes > 1 else ''}; use at least {least}."
            )
        return room
