"""Whatever comes in, what comes out is the right thing or a UserError. Examples are the same in every run."""

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from iid_cl.config.experiment import Config
from iid_cl.config.reading import dump_config, load_config, parse_config
from iid_cl.data.folders import load_files
from iid_cl.data.pictures import FORMATS
from iid_cl.errors import UserError, is_printable, one_line
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.files import load_memory, save_memory
from iid_cl.memory.jpeg import JpegSet, encode
from iid_cl.studies.cases import cases, load_study

rates = st.floats(1e-300, 1e300) | st.integers(1, 10**6)
numbers = st.integers(1, 10**9)
SECTIONS: dict[str, Any] = {
    "name": st.text("Az09", min_size=1, max_size=90) | st.just("a_b.c-d"),
    "seed": st.integers(0, 2**32 - 1),
    "stream": st.fixed_dictionaries(
        {},
        optional={
            "classes": st.lists(st.integers(0, 99), min_size=2, max_size=9, unique=True).map(lambda c: [c[:1], c[1:]]),
            "validation": st.floats(0, 1, exclude_max=True),
        },
    ),
    "train": st.fixed_dictionaries({}, optional={"epochs": numbers, "lr": rates, "augment": st.booleans()}),
    "compare": st.fixed_dictionaries(
        {},
        optional={
            "methods": st.lists(
                st.sampled_from(["random", "none"])
                | st.fixed_dictionaries(
                    {
                        "name": st.text("abc", min_size=1, max_size=9),
                        "set": st.dictionaries(
                            st.text(st.characters(codec="utf-8"), max_size=9),
                            st.none()
                            | st.booleans()
                            | st.integers(-(2**63), 2**63 - 1)
                            | st.floats(allow_nan=False)
                            | st.text(st.characters(codec="utf-8"), max_size=9),
                            max_size=3,
                        ),
                    }
                ),
                min_size=1,
                max_size=3,
            )
        },
    ),
}  # fmt: skip


@settings(max_examples=30)  # each writes and reads a whole file, for 0.1 s
@given(st.fixed_dictionaries({}, optional=SECTIONS))
def test_a_configuration_survives_its_file(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> None:
    config = parse_config(values, "values")
    file = tmp_path_factory.mktemp("c") / "config.yaml"
    file.write_text(dump_config(config), encoding="utf-8")
    assert load_config(str(file)) == config


def assert_sentence(error: UserError) -> None:
    text = one_line(error)
    assert is_printable(text)
    assert text.endswith((".", "?"))


yaml_like = st.text() | st.lists(
    st.sampled_from(
        ["name", "stream", "base", "variants", "seed", ": ", "\n", "  ", "- ", "[", "]", "{", "}", "&a ", "*a", "<<",
         "!!", "!", "? ", "|", ">", "'", '"', "1", "0x", "e9", ".nan", "~", "%", "#", "\t", "---", "\\x1b", "9" * 50]
    )
).map("".join)  # fmt: skip


@given(yaml_like | st.binary())
def test_any_file_is_a_configuration_or_a_mistake(
    tmp_path_factory: pytest.TempPathFactory, content: str | bytes
) -> None:
    file = tmp_path_factory.mktemp("c") / "config.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    for read in (load_config, lambda source: cases(load_study(source))):
        try:
            read(str(file))
        except UserError as error:
            assert_sentence(error)


@given(
    st.lists(
        st.text()
        | st.builds("{}={}".format, st.sampled_from(["seed", "train.lr", "compare.methods", "stream"]), yaml_like)
    )
)
def test_any_override_is_one_or_a_mistake(overrides: list[str]) -> None:
    try:
        assert isinstance(load_config(None, overrides), Config)
    except UserError as error:
        assert_sentence(error)


def kept_memories() -> list[ExemplarSet | JpegSet]:
    """A plain one, one of grids with soft labels, and JPEG files."""
    generator = torch.Generator().manual_seed(0)
    groups = {c: torch.randint(256, (2, 1, 8, 8), dtype=torch.uint8, generator=generator) for c in (0, 3)}
    grids = ExemplarSet.from_classes(groups, {"seed": 1}, partition=2)
    soft = grids.with_soft_labels(torch.rand(16, 2, generator=generator).softmax(1), (0, 3))
    files = {c: encode(images, 80) for c, images in groups.items()}
    return [
        ExemplarSet.from_classes(groups, {"names": ["a", "b"]}),
        soft,
        JpegSet.from_classes(files, (1, 8, 8), {"x": 1}),
    ]


MEMORIES = kept_memories()


@given(st.integers(0, 2), st.data())
def test_a_damaged_memory_is_refused_or_the_same(
    tmp_path_factory: pytest.TempPathFactory, which: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("m") / "m.safetensors"
    save_memory(path, MEMORIES[which])
    whole = load_memory(path)
    changed = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(changed[: data.draw(st.none() | st.integers(0, len(changed)))])
    try:
        read = load_memory(path)
    except UserError as error:
        assert_sentence(error)
        return
    assert read.metadata == whole.metadata
    assert torch.equal(read.decoded().images, whole.decoded().images)
    assert torch.equal(read.targets(4), whole.targets(4))


@given(
    st.binary()
    | st.builds(lambda n, rest: n.to_bytes(8, "little") + rest, st.integers(0, 300), st.binary(max_size=400))
)
def test_any_file_is_a_memory_or_a_mistake(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("m") / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_memory(path)
    assert_sentence(caught.value)


@given(st.sampled_from(FORMATS), st.data())
def test_a_damaged_picture_is_decoded_or_a_mistake(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    file = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(file, kind)
    changed = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 5))):
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path: Path = tmp_path_factory.mktemp("p") / "p.png"
    path.write_bytes(changed[: data.draw(st.none() | st.integers(0, len(changed)))])
    with contextlib.suppress(UserError):
        images = load_files([[path]], 8, None).images
        assert images.shape[2:] == (8, 8)
        assert images.shape[1] in (1, 3)
