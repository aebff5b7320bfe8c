"""Seeds: the same for the same stream, apart for others, and drawn without touching what is global."""

from itertools import product

import numpy as np
import pytest
import torch

from iid_cl.seeding import derive_seed, draw_seed, make_generator


def test_a_stream_repeats():
    assert derive_seed(3, "weights", 4) == derive_seed(3, "weights", 4)


def test_other_seeds_names_numbers_and_orders_are_other_streams():
    streams = [(seed, name, number) for seed, name, number in product((0, 1, 2**32), ("a", "b", "ab"), (1, 2, 9))]
    streams += [(0,), (1,), (0, "a"), (0, "b"), (0, 1, "a"), (0, "a", "b"), (0, "b", "a"), (0, "a", 1, 2)]
    assert len({derive_seed(*stream) for stream in streams}) == len(streams)


def test_derived_seeds_are_spread_over_63_bits():
    seeds = [derive_seed(0, "stream", number) for number in range(1, 400)]
    assert min(seeds) >= 0
    assert max(seeds) < 2**63
    bits = np.array([[seed >> bit & 1 for bit in range(63)] for seed in seeds])
    assert bits.mean(0).min() > 0.35
    assert bits.mean(0).max() < 0.65


def test_generators_of_a_stream_agree_and_of_two_streams_do_not():
    def numbers(*stream):
        return torch.rand(8, generator=make_generator(*stream))

    assert torch.equal(numbers(5, "x", 1), numbers(5, "x", 1))
    assert not torch.equal(numbers(5, "x", 1), numbers(5, "x", 2))
    assert not torch.equal(numbers(5, "x", 1), numbers(6, "x", 1))


def test_generator_is_seeded_with_the_derived_seed():
    expected = torch.rand(4, generator=torch.Generator().manual_seed(derive_seed(5, "x")))
    assert torch.equal(torch.rand(4, generator=make_generator(5, "x")), expected)


def test_generator_lives_on_the_cpu_unless_asked():
    assert make_generator(0, "x").device == torch.device("cpu")


@pytest.mark.gpu
def test_generator_lives_on_cuda_when_asked():
    generator = make_generator(0, "x", device="cuda")
    assert generator.device.type == "cuda"
    assert 0 <= draw_seed(generator) < 2**63


def test_drawn_seeds_repeat_with_the_generator_and_differ_from_draw_to_draw():
    first, again = (torch.Generator().manual_seed(1) for _ in range(2))
    seeds = [draw_seed(first) for _ in range(50)]
    assert seeds == [draw_seed(again) for _ in range(50)]
    assert len(set(seeds)) == 50
    assert all(isinstance(seed, int) and 0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**61  # not cut to fewer bits


def test_nothing_global_is_drawn_from():
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    draw_seed(make_generator(0, "x"))
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)


def test_streams_of_different_length_never_coincide():
    assert derive_seed(3, "x") != derive_seed(3, "x", 0)
    assert derive_seed(5 + 7 * 2**32) != derive_seed(5, 7)
