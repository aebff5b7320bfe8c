import runpy
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_avalanche_experiment_runs_and_leaves_a_memory(in_tmp_path: Path) -> None:
    main = runpy.run_path(str(EXAMPLES / "avalanche_experiment.py"))["main"]
    accuracy = main(train_epochs=4, iterations=5, experiences=2)
    assert accuracy > 0.5  # two experiences of five classes; forgetting the first leaves at most one half
    assert (in_tmp_path / "digits-memory.safetensors").stat().st_size > 10 * 2 * 64
