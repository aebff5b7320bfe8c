"""Budgets: how much a memory may hold."""

from dataclasses import dataclass

from iid_cl.errors import UserError

LABEL_BYTES = 2
KEYS = ("ipc", "mem_size", "mem_bytes", "class_bytes")  # the ways to bound a memory


@dataclass(frozen=True)
class Budget:
    """Exactly one of four ways to bound a memory; all classes seen share it evenly.

    A budget in images stands for the bytes of that number of full-size images with their labels, whatever a method
    stores in them. What an even share leaves over, less than an image per class, stays unused.

    >>> growing = Budget(ipc=10)
    >>> growing.room(classes=5, image_bytes=784)  # of each class: ten images, with two bytes of label each
    7860
    >>> growing.allowed(classes=5, image_bytes=784)
    39300
    >>> Budget(mem_bytes=20_000).images(classes=5, image_bytes=784)
    25

    Attributes:
        ipc: images per class; the memory grows with the classes.
        class_bytes: bytes per class; the memory grows with the classes.
        mem_size: images in total; older classes shrink as new ones come.
        mem_bytes: bytes in total; likewise.

    Raises:
        UserError: none or several of them, or one below 1.
    """

    ipc: int | None = None
    mem_size: int | None = None
    mem_bytes: int | None = None
    class_bytes: int | None = None

    def __post_init__(self) -> None:
        given = {key: value for key, value in vars(self).items() if value is not None}
        if len(given) != 1:
            found = ", ".join(f"{key}: {value}" for key, value in given.items()) or "none of them"
            raise UserError(f"a memory needs one of ipc, mem_size, mem_bytes and class_bytes, not {found}.")
        if self.amount < 1:
            raise UserError(f"{self.key}: {self.amount} is not a memory; use at least 1.")

    @property
    def key(self) -> str:
        """Which of the four it is."""
        return next(key for key, value in vars(self).items() if value is not None)

    @property
    def amount(self) -> int:
        """Its number."""
        return int(getattr(self, self.key))

    @property
    def pair(self) -> tuple[str, int]:
        """Key and amount, as results hold them."""
        return self.key, self.amount

    def __lt__(self, other: "Budget") -> bool:
        """The order of tables and figures: by key, then by amount."""
        return self.pair < other.pair

    @property
    def fixed(self) -> bool:
        """Whether the total stays while classes come."""
        return self.key in ("mem_size", "mem_bytes")

    @property
    def in_bytes(self) -> bool:
        """Whether everything stored is charged, soft labels included, instead of images counted."""
        return self.key in ("mem_bytes", "class_bytes")

    def allowed(self, classes: int, image_bytes: int) -> int:
        """Bytes that ``classes`` classes may take together.

        Args:
            classes: classes to hold.
            image_bytes: C * H * W of a full-size image.
        """
        unit = 1 if self.in_bytes else image_bytes + LABEL_BYTES
        return self.amount * unit * (1 if self.fixed else classes)

    def images(self, classes: int, image_bytes: int) -> int:
        """Number of full-size images with their labels that ``classes`` classes may hold together, at least 1."""
        images = self.amount // (image_bytes + LABEL_BYTES) if self.in_bytes else self.amount
        return max(1, images * (1 if self.fixed else classes))

    def room(self, classes: int, image_bytes: int) -> int:
        """Bytes for each of ``classes`` classes.

        Args:
            classes: classes to hold.
            image_bytes: C * H * W of a full-size image.

        Raises:
            UserError: not even one image of each class fits.
        """
        unit = image_bytes + LABEL_BYTES
        share = self.amount // classes if self.fixed else self.amount
        room = share if self.in_bytes else share * unit
        if room < unit:
            least = classes * unit if self.key == "mem_bytes" else unit if self.in_bytes else classes
            raise UserError(
                f"memory.{self.key}: {self.amount} has no room for one image of each of {classes} "
                f"class{'es' if classes > 1 else ''}; use at least {least}."
            )
        return room
