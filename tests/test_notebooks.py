"""The notebooks run from top to bottom, and show what their text says."""

import json
import pathlib

import matplotlib
import numpy as np
import pytest

FOLDER = pathlib.Path(__file__).parents[1] / "notebooks"
NAMES = ("annotator_agreement", "echoclip_phase")


def load(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))


def run(name: str) -> dict:
    """Executes the code cells in order in one namespace, as a kernel would; returns the namespace."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    namespace = {"__name__": "__main__"}
    for number, cell in enumerate(load(name)["cells"]):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{name}.ipynb, cell {number}", "exec"), namespace)
    for figure in map(plt.figure, plt.get_fignums()):
        figure.canvas.draw()
    plt.close("all")
    return namespace


def test_every_notebook_is_tested():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_holds_text_and_code_and_no_output(name):
    notebook = load(name)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["cells"][0]["cell_type"] == "markdown"
    for cell in notebook["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None
        assert all(len(line.rstrip("\n")) <= 128 for line in cell["source"])


def test_made_annotators_agree_as_the_text_says():
    namespace = run("annotator_agreement")
    agreement, ceiling, voted = (namespace[key] for key in ("agreement", "ceiling", "voted"))
    assert {dice.n for dice in agreement.values()} == {namespace["NUM_PHANTOMS"]}
    for phase in ("ED", "ES"):
        one, _, against_three, votes = (agreement[phase, *group].value for group in namespace["GROUPS"])
        assert 0.8 < one < against_three < 1 and one < votes < 1
        assert one < ceiling[phase] < voted[phase] < 1
    assert agreement["ED", 1, 1].value > agreement["ES", 1, 1].value


def test_echoclips_signal_follows_the_area_of_phantoms_if_it_sees_the_valve(capsys):
    namespace = run("echoclip_phase")
    assert namespace["CHECKPOINT_DIR"] == "", "the notebook must say that nothing was measured with EchoCLIP"
    assert namespace["correlation"] > 0.5
    for signal in namespace["signals"]:
        np.testing.assert_allclose([signal.mean(), signal.std()], [0, 1], atol=1e-9)
    assert namespace["afd"]["echodfkd"]["ed_frames"].n == namespace["NUM_PHANTOMS"]
    assert namespace["afd"]["echodfkd"]["ed_ms"].value < 200
    assert "mean correlation with the area" in capsys.readouterr().out
