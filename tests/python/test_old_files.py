"""Models of every format_version: they must give what they gave when they were written (tests/fixtures/write.py)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurlm import LanguageModel, Model
from recurlm.language_model.storage import FORMAT_VERSION
from tests.fixtures import write

FIXTURES = Path(__file__).parents[1] / "fixtures"
VERSIONS = sorted(path.name for path in FIXTURES.glob("version_*"))
MODELS = [(version, name) for version in VERSIONS for name in write.LANGUAGE_MODELS]
# Between instruction sets: 1.5e-6 was measured in float32; in int8 an activation may round to the integer beside.
TOLERANCES = {"float32": 1e-5, "bfloat16": 1e-5, "int8": 1e-2}


def expected(version: str) -> dict[str, Any]:
    return dict(json.loads((FIXTURES / version / "expected.json").read_text()))


def test_every_version_is_there() -> None:
    assert [f"version_{n}" for n in range(1, FORMAT_VERSION + 1)] == VERSIONS


@pytest.mark.parametrize(("version", "name"), MODELS)
def test_language_models(version: str, name: str) -> None:
    lm = LanguageModel.load(FIXTURES / version / name)
    recorded = expected(version)["language_models"][name]
    for found, wanted in zip(write.log_probs(lm), recorded, strict=True):
        np.testing.assert_allclose(found, wanted, atol=TOLERANCES[lm.precision])


@pytest.mark.parametrize("version", VERSIONS)
def test_networks(version: str) -> None:
    model = Model.load(FIXTURES / version / "network")
    np.testing.assert_allclose(write.outputs(model), expected(version)["network"], atol=1e-6)


@pytest.mark.parametrize("version", VERSIONS)
def test_classifiers(version: str) -> None:
    pytest.importorskip("sklearn")
    from recurlm.estimators import SequenceClassifier

    classifier = SequenceClassifier.load(FIXTURES / version / "classifier")
    np.testing.assert_allclose(write.classified(classifier), expected(version)["classifier"], atol=1e-5)
