"""The gradient of a step: the same in chunks of any size, halved when memory runs out, and against a plain loop."""

import copy
from dataclasses import fields, replace

import pytest
import torch
from torch.nn import functional

from iid_cl.compute.arithmetic import EAGER, Arithmetic
from iid_cl.config.distill import QueueConfig
from iid_cl.data.augmentation import Parameters, augment
from iid_cl.data.classes import Classes
from iid_cl.distill.draws import Draws, Sources, make_embedders
from iid_cl.distill.matching import OBJECTIVES
from iid_cl.distill.sampling import ClassSampler
from iid_cl.distill.step import ImageStep
from iid_cl.errors import UserError
from iid_cl.memory.partition import expand
from tests.distill.helpers import LENS, condense, images_of, pool, settings

CLASSES = (0, 2, 4, 5, 7)
ALL = len(CLASSES)
FEATURES = 8 * 2 * 2  # of the small network on 8x8 images

every_objective = pytest.mark.parametrize("objective", ["dm", "idm", "ncfm"])
every_scale = pytest.mark.parametrize("scale", ["relative", "published"])


def full(objective, **options):
    """A configuration with every term that the objective can have."""
    return settings(
        objective=objective,
        queue=QueueConfig(networks=1, steps=5, batch_size=32, cross_entropy=0.5),
        **{"cm": 0.3, "cc": 0.2, "real_batch": 8} | options,
    )


class Scene:
    """Five classes of two stored images each, and draws to compare them by."""

    def __init__(self, config, seed=0):
        self.config = config
        groups = images_of(*CLASSES)
        self.sampler = ClassSampler(Classes(groups), config.real_batch, LENS, seed)
        embedders = make_embedders(config, self.sampler, None, EAGER, LENS, seed)
        trained = pool(groups, trainings=1, epochs=1, snapshots=1) if config.cc.weight > 0 else []
        sources = Sources(embedders, lambda draws: OBJECTIVES[config.objective](config, FEATURES, draws), trained)
        self.draws = iter(Draws(config.iterations, self.sampler, sources, seed, False))
        generator = torch.Generator().manual_seed(seed)
        self.synthetic = torch.randn(len(CLASSES), 2, 1, 8, 8, generator=generator).requires_grad_()

    def step(self, chunk=ALL, arithmetic=EAGER):
        return ImageStep(self.config, self.sampler, LENS, arithmetic, chunk)

    def result(self, draw, step=None):
        """Terms of a step, and the gradient that it sets."""
        self.synthetic.grad = None
        terms = (step or self.step()).gradient(self.synthetic, draw)
        return terms, self.synthetic.grad.clone()


def assert_same_result(found, expected):
    """Up to the rounding of single precision."""
    assert found[0].keys() == expected[0].keys()
    for name, term in expected[0].items():
        torch.testing.assert_close(found[0][name], term, rtol=1e-5, atol=1e-7)
    size = float(expected[1].abs().max())
    torch.testing.assert_close(found[1], expected[1], rtol=1e-4, atol=1e-5 * size)


# --- chunks


@every_objective
def test_terms_and_gradient_are_the_same_in_chunks_of_every_size(objective):
    scene = Scene(full(objective))
    draw = next(scene.draws)
    expected = scene.result(draw, scene.step(ALL))
    assert expected[0].keys() == {"match", "cm", "cc"} | ({"ce"} if objective != "dm" else set())
    for name, term in expected[0].items():
        assert term.shape == (5,), name
        assert (term > 0).all(), name
    assert (expected[1].flatten(1).abs().amax(1) > 0).all()
    for chunk in (1, 2, 3, 4, 9):
        assert_same_result(scene.result(draw, scene.step(chunk)), expected)


@every_objective
def test_a_chunk_holds_no_more_classes_than_asked(objective):
    scene, seen = Scene(full(objective)), []

    class Watched(Arithmetic):
        def embed(self, network, images):
            seen.append(len(images))
            return super().embed(network, images)

    scene.result(next(scene.draws), scene.step(2, Watched()))
    made = 2 if objective == "dm" else 8  # of one class
    # real images under psi, synthetic ones under psi and phi
    assert seen == [16, 2 * made, 2 * made] * 2 + [8, made, made]


@every_objective
def test_a_class_depends_on_no_other(objective):
    scene = Scene(full(objective))
    draw = next(scene.draws)
    terms, gradient = scene.result(draw)
    with torch.no_grad():
        scene.synthetic[[0, 1, 3, 4]] *= -0.5
    others_terms, others_gradient = scene.result(draw)
    for name, term in terms.items():
        assert others_terms[name][2] == term[2]
        assert not torch.isclose(others_terms[name][[0, 1, 3, 4]], term[[0, 1, 3, 4]], rtol=1e-3).any()
    assert torch.equal(others_gradient[2], gradient[2])
    assert (others_gradient - gradient).flatten(1).abs().amax(1)[[0, 1, 3, 4]].min() > 0


# --- when memory runs out


class Tight(Arithmetic):
    """A device whose memory holds so many images at a time."""

    def __init__(self, limit, only_with_gradient=False):
        super().__init__()
        object.__setattr__(self, "limit", limit)
        object.__setattr__(self, "only_with_gradient", only_with_gradient)
        object.__setattr__(self, "failures", [])

    def embed(self, network, images):
        if len(images) > self.limit and (torch.is_grad_enabled() or not self.only_with_gradient):
            self.failures.append(len(images))
            raise torch.OutOfMemoryError("out of memory: a lot was asked for")
        return super().embed(network, images)


@every_objective
def test_running_out_of_memory_halves_the_chunk_and_changes_nothing(objective):
    scene = Scene(full(objective))
    first, second = next(scene.draws), next(scene.draws)
    expected = [scene.result(draw) for draw in (first, second)]
    tight = Tight(20)
    step = scene.step(5, tight)
    assert_same_result(scene.result(first, step), expected[0])
    assert tight.failures == [40, 24]  # 8 real images of 5 classes, then of 3
    assert step.chunk == 2
    assert_same_result(scene.result(second, step), expected[1])
    assert len(tight.failures) == 2  # and it stays at that


def test_memory_may_run_out_in_the_backward_half_only():
    scene = Scene(full("idm"))
    draw = next(scene.draws)
    expected = scene.result(draw)
    tight = Tight(10, only_with_gradient=True)
    step = scene.step(5, tight)
    assert_same_result(scene.result(draw, step), expected)
    assert tight.failures == [40, 24, 16]  # 8 parts of 5, 3 and 2 classes
    assert step.chunk == 1


def test_memory_may_run_out_between_two_steps_of_a_draw():
    scene = Scene(full("idm"))
    draw = next(scene.draws)
    expected = scene.result(draw)
    tight = Tight(1000)
    step = scene.step(3, tight)
    assert_same_result(scene.result(draw, step), expected)
    object.__setattr__(tight, "limit", 20)
    assert_same_result(scene.result(draw, step), expected)
    assert step.chunk == 2


def test_a_run_goes_on_when_memory_runs_out(monkeypatch):
    groups, config = images_of(2, 5, 7), settings(cm=0.1)
    expected = condense(groups, config).images
    genuine, refused = Arithmetic.embed, []

    def embed(self, network, images):
        if len(images) > 16:
            refused.append(len(images))
            raise torch.OutOfMemoryError("full")
        return genuine(self, network, images)

    monkeypatch.setattr(Arithmetic, "embed", embed)
    images = condense(groups, config).images
    assert refused == [24]  # 8 real images of three classes: once, then it is two classes
    difference = (images.int() - expected.int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.01


def test_one_class_that_does_not_fit_is_a_users_error():
    scene = Scene(full("dm"))
    step = scene.step(5, Tight(7))
    with pytest.raises(UserError) as caught:
        step.gradient(scene.synthetic, next(scene.draws))
    message = str(caught.value)
    assert message.startswith("distill.real_batch: 8 real images a class don't fit into the device's memory; use ")
    assert len(message.splitlines()) == 1


# --- the real images of a draw


@pytest.mark.parametrize("chunk", [5, 2])
def test_a_step_looks_at_each_real_image_of_its_draw_once(chunk, monkeypatch):
    scene, looks = Scene(full("ncfm")), []
    genuine = scene.sampler.real
    monkeypatch.setattr(scene.sampler, "real", lambda rows: (looks.append(rows), genuine(rows))[1])
    step = scene.step(chunk)
    for draw in (next(scene.draws), next(scene.draws)):
        looks.clear()
        step.gradient(scene.synthetic, draw)
        assert torch.equal(torch.cat(looks), draw.rows)


@every_objective
def test_nothing_of_an_earlier_draw_stays(objective):
    scene = Scene(full(objective))  # with dm one network object, drawn anew in place
    step = scene.step()
    first = scene.result(next(scene.draws), step)
    draw = next(scene.draws)
    second = scene.result(draw, step)
    assert_same_result(second, scene.result(draw))
    assert not torch.isclose(second[0]["match"], first[0]["match"], rtol=1e-3).any()


def test_other_real_images_of_the_same_networks_are_looked_at():
    scene = Scene(full("idm"))
    draw, step = next(scene.draws), scene.step()
    scene.result(draw, step)
    other = replace(draw, rows=draw.rows.flip(0))
    found = scene.result(other, step)
    assert_same_result(found, scene.result(other))


def test_images_that_moved_are_seen_where_they_are():
    scene = Scene(full("idm"))
    draw, step = next(scene.draws), scene.step()
    scene.result(draw, step)
    with torch.no_grad():
        scene.synthetic.mul_(0.5)
    assert_same_result(scene.result(draw, step), scene.result(draw))


# --- what it sets


def test_only_the_gradient_of_the_images_is_set():
    scene = Scene(full("idm"))
    draw, before = next(scene.draws), scene.synthetic.detach().clone()
    for network in (draw.psi, draw.phi.network):
        network.zero_grad(set_to_none=True)  # what the queue's training left
    terms, gradient = scene.result(draw)
    assert torch.equal(scene.synthetic, before)
    assert scene.synthetic.requires_grad
    assert not any(term.requires_grad for term in terms.values())
    for network in (draw.psi, draw.phi.network):
        assert all(parameter.grad is None for parameter in network.parameters())
    scene.step().gradient(scene.synthetic, draw)  # over the old gradient, which it replaces
    assert torch.equal(scene.synthetic.grad, gradient)


@every_objective
def test_terms_and_gradient_are_single_precision_in_any_format(objective):
    scene = Scene(full(objective))
    draw = next(scene.draws)
    exact = scene.result(draw)
    terms, gradient = scene.result(draw, scene.step(arithmetic=Arithmetic(torch.bfloat16)))
    for name, term in terms.items():
        assert term.dtype == torch.float32
        torch.testing.assert_close(term, exact[0][name], rtol=0.2, atol=0.01)
    assert not torch.equal(terms["match"], exact[0]["match"])
    assert gradient.dtype == torch.float32
    assert torch.cosine_similarity(gradient.flatten(1), exact[1].flatten(1)).min() > 0.95


# --- against a plain loop in double precision


def doubled(parameters):
    return Parameters(*(getattr(parameters, field.name).double() for field in fields(parameters)))


def squared(x):
    return (x * x).sum()


def plain_terms(config, real, made, psi, accuracy, frequencies, phi, unit, label):
    """Terms of one class from its augmented images (n, c, H, W), as METHOD.md has them."""
    relative = config.scale == "relative"
    local, real_local = psi.embed(made).flatten(2), psi.embed(real).flatten(2)
    x, y = real_local.flatten(1), local.flatten(1)
    spread = sum(squared(row - x.mean(0)) for row in x) / len(x)
    if config.objective == "ncfm":
        r, s = (torch.exp(1j * ((z - x.mean(0)) / spread.sqrt() @ frequencies.T)).mean(0) for z in (x, y))
        scatter = (r.abs() - s.abs()) ** 2
        place = (r - s).abs() ** 2 - scatter
        share = 0.5
        match = (share * scatter + (1 - share) * place).sqrt().mean()
    else:
        match = squared(x.mean(0) - y.mean(0)) / (spread if relative else 1)
    sigma = []
    for z in (real_local, local):
        centred = z - z.mean(0)
        sigma.append(sum(f @ f.T for f in centred) / len(z))
    cm = squared(sigma[0] - sigma[1]) / (squared(sigma[0]) if relative else 1)
    features = phi.features(made)
    distances = torch.stack([squared(row - features.mean(0)) for row in features])
    cc = (distances / unit).mean() if relative else distances.sum()
    terms = {"match": match, "cm": config.cm.weight * cm, "cc": config.cc.weight * cc}
    if accuracy is None:  # of a network that was never trained
        return terms
    scores = psi.classifier(psi.pool(psi.embed(made)))
    right = torch.full((len(made),), label)
    ce = functional.cross_entropy(scores, right) * accuracy * (1 if relative else 100 / len(CLASSES))
    return {**terms, "ce": config.queue.cross_entropy * ce}


@every_scale
@every_objective
def test_terms_and_gradient_agree_with_a_plain_loop_in_double_precision(objective, scale):
    scene = Scene(full(objective, scale=scale), seed=3)
    config, draw = scene.config, next(scene.draws)
    assert draw.accuracy is None if objective == "dm" else draw.accuracy > 0.1
    terms, gradient = scene.result(draw, scene.step(2))
    psi, phi = (copy.deepcopy(network).double() for network in (draw.psi, draw.phi.network))
    frequencies = draw.objective.frequencies[0].double() if objective == "ncfm" else None
    # a mean over the images of a class leaves each a share, and a step grows with an image's size
    unit = 2 * 64 if scale == "relative" else 1
    exact = torch.empty(5, 2, 1, 8, 8, dtype=torch.float64)
    for k in range(len(CLASSES)):
        stored = scene.synthetic.detach()[k].double().requires_grad_()
        parameters = doubled(draw.parameters[k : k + 1])
        real = (scene.sampler.real(draw.rows[k]).double() / 255 - 0.3) / 0.4
        shown = expand(stored, config.factor)
        real, made = (augment(images[None], parameters)[0] for images in (real, shown))
        accuracy = None if draw.accuracy is None else draw.accuracy.double()
        spread = draw.phi.spread[k].double()
        own = plain_terms(config, real, made, psi, accuracy, frequencies, phi, spread, k)
        assert own.keys() == terms.keys()
        for name, term in own.items():
            assert float(terms[name][k]) == pytest.approx(float(term.detach()), rel=1e-3), name
        (exact[k],) = torch.autograd.grad(unit * sum(own.values()), stored)
    torch.testing.assert_close(gradient.double(), exact, rtol=1e-3, atol=2e-3 * float(exact.abs().max()))


def test_gradient_agrees_with_finite_differences_of_the_reported_terms():
    """Along the gradient itself, where the sum of the terms changes most."""
    scene = Scene(full("idm", scale="published"))
    draw = next(scene.draws)
    _, gradient = scene.result(draw)
    direction = gradient / gradient.norm()
    start, ends = scene.synthetic.detach().clone(), []
    for sign in (1, -1):
        with torch.no_grad():
            scene.synthetic.copy_(start + sign * 0.01 * direction)
        ends.append(sum(float(term.double().sum()) for term in scene.result(draw)[0].values()))
    assert (ends[0] - ends[1]) / 0.02 == pytest.approx(float(gradient.norm()), rel=0.02)


# --- captured functions


@pytest.fixture
def captured(monkeypatch):
    """Compiles what is captured, without code generation and without a way out; lists what was captured."""
    names = []

    def capture(self, function, device):
        names.append(function.__name__)
        # group norm decomposed, as the compiler does: whole, torch 2.14 traces it with strides that no CPU gives it
        return torch.compile(function, fullgraph=True, dynamic=False, backend="aot_eager_decomp_partition")

    torch._dynamo.reset()
    monkeypatch.setattr(Arithmetic, "capture", capture)
    yield names
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("objective", "options"),
    [("idm", {"cc": 0.0}), ("ncfm", {"cc": 0.0}), ("dm", {})],
    ids=["idm", "ncfm", "dm, cc"],  # without cc, dm does nothing that these do not
)
def test_what_is_captured_is_one_graph_and_changes_nothing(objective, options, captured, monkeypatch):
    groups, config = images_of(2, 5), full(objective, iterations=4, **options)
    images = condense(groups, config).images
    assert len(captured) == 2
    monkeypatch.undo()
    plain = condense(groups, config).images
    assert (images.int() - plain.int()).abs().max() <= 1
    assert (images != plain).float().mean() < 0.01
    start = condense(groups, config.model_copy(update={"iterations": 0})).images
    assert (images != start).float().mean() > 0.2
