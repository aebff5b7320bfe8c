"""The values that a search tries next, by Optuna, with what was tried before in an sqlite file. Only this module
imports Optuna."""

import warnings
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from iid_cl.config.study import RangeConfig
from iid_cl.errors import UserError
from iid_cl.seeding import derive_seed

ENOUGH = 8  # trials from which importances are given; fewer say nothing


class Sampler:
    """Draws values by a tree of Parzen estimators (TPE), ten times at random first.

    What trial ``n`` draws follows from the seed and the trials before it alone, so that a search that was interrupted
    draws what it would have drawn.

    Args:
        space: ranges or choices by key.
        seed: of the study.
        file: keeps finished trials; it is made if it is missing.

    Raises:
        UserError: the file is damaged or holds other keys.
    """

    def __init__(self, space: Mapping[str, Any], seed: int, file: Path) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna, self._seed = optuna, seed
        self._space = {key: _distribution(optuna, found) for key, found in space.items()}
        self._study = optuna.create_study(direction="maximize")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._storage = optuna.storages.RDBStorage(f"sqlite:///{file.resolve()}")
                self._kept = optuna.create_study(
                    storage=self._storage, study_name="search", direction="maximize", load_if_exists=True
                )
                before = self._kept.get_trials(deepcopy=False)
            self._study.add_trials(before)
        except Exception as error:  # of SQLAlchemy, of sqlite, or Optuna's about another version
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"{file}: cannot be read ({reason}); remove it: the same command makes it again, and finished trials "
                "are kept."
            ) from None
        if any(trial.distributions != self._space for trial in before):
            raise UserError(f"{file}: holds a search over other values; choose another --out.")

    def draw(self, number: int) -> dict[str, Any]:
        """The values of a trial: those that it had before, or new ones behind the last."""
        trials = self._study.get_trials(deepcopy=False)
        if number < len(trials):
            return {key: trials[number].params[key] for key in self._space}
        self._study.sampler = self._optuna.samplers.TPESampler(seed=derive_seed(self._seed, "search", number) % 2**32)
        self._asked = self._study.ask(self._space)
        return {key: self._asked.params[key] for key in self._space}

    def tell(self, number: int, accuracy: float | None) -> None:
        """Keeps the accuracy of the trial that was drawn last, None if its values do not fit."""
        if number < len(self._kept.get_trials(deepcopy=False)):
            return  # it was kept before
        state = self._optuna.trial.TrialState
        self._study.tell(self._asked, accuracy, state.FAIL if accuracy is None else state.COMPLETE)
        self._kept.add_trial(self._study.get_trials(deepcopy=False)[number])

    def importances(self) -> dict[str, float]:
        """The share of each key in the differences of accuracy; empty if there are few trials, or no differences."""
        states = self._study.get_trials(deepcopy=False)
        values = [trial.value for trial in states if trial.value is not None]
        if len(values) < ENOUGH or len(set(values)) < 2:
            return {}
        importance = self._optuna.importance
        found = importance.get_param_importances(self._study, evaluator=importance.FanovaImportanceEvaluator(seed=0))
        return {key: float(value) for key, value in found.items()}

    def close(self) -> None:
        """Closes the file."""
        self._storage.remove_session()
        self._storage.engine.dispose()


def open_sampler(space: Mapping[str, Any], seed: int, file: Path) -> "closing[Sampler]":
    """A :class:`Sampler` that is closed at the end of the context."""
    return closing(Sampler(space, seed, file))


def _distribution(optuna: Any, found: Any) -> Any:
    if not isinstance(found, RangeConfig):
        return optuna.distributions.CategoricalDistribution(tuple(found))
    whole = isinstance(found.low, int) and isinstance(found.high, int)
    kind = optuna.distributions.IntDistribution if whole else optuna.distributions.FloatDistribution
    return kind(found.low, found.high, log=found.log)
