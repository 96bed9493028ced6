"""Programs are compared in their answers, and in their speed round by round."""

import pytest

from bench import report
from bench.measure import Measurement, check_agreement, speed_ups
from bench.programs import Contender, fastest, installed
from bench.tasks import Task
from bench.worker import Worker
from tests.peers.documents import RATES, measurement


class Doubling(Task):
    """Stands for a program."""

    tokens = 3

    def __init__(self) -> None:
        self.value = 1

    def answers(self) -> list[float]:
        return [float(self.value)]

    def run(self) -> None:
        self.value *= 2


class Failing(Doubling):
    def answers(self) -> list[float]:
        raise ZeroDivisionError("no answer")


def answering(name: str, *answers: float) -> Measurement:
    return Measurement(Contender.named(name), list(answers))


def test_speed_ups_are_those_of_a_round() -> None:
    ours, theirs = (measurement(name, rates) for name, rates in RATES.items())
    assert speed_ups(ours, theirs) == [2.0, 3.0, 1.1]


def test_names_of_programs() -> None:
    for name in ("torch", "torch-int8", "recurlm-bfloat16"):
        assert Contender.named(name).name == name
    assert Contender.named("torch-int8").rival == "recurlm-int8"
    assert installed("numpy")
    assert not installed("no_such_program-int8")


def test_each_is_compared_with_recurlm_in_its_precision() -> None:
    names = ("recurlm", "recurlm-int8", "torch", "torch-int8")
    rates = ([8.0], [12.0], [4.0], [3.0])
    entries = report.entries([measurement(*item) for item in zip(names, rates, strict=True)])
    assert "recurlm_speed_up" not in entries["recurlm"]
    assert "recurlm_speed_up" not in entries["recurlm-int8"]
    assert entries["torch"]["recurlm_speed_up"] == 2.0
    assert entries["torch-int8"]["recurlm_speed_up"] == 4.0
    entries = report.entries(
        [measurement("recurlm", [8.0]), measurement("recurlm-int8", [12.0])], {"recurlm": "recurlm-int8"}
    )
    assert entries["recurlm"]["recurlm_speed_up"] == 1.5


def test_answers_must_agree() -> None:
    first = answering("recurlm", 1.0, 2.0)
    other = answering("torch", 1.0, 2.0005)
    check_agreement([first, other])
    assert other.largest_difference == pytest.approx(5e-4)
    for wrong in (2.1, float("nan")):
        with pytest.raises(RuntimeError, match=r"answer 2 .*recurlm.*torch"):
            check_agreement([first, answering("torch", 1.0, wrong)])


def test_lower_precisions_may_differ_more_and_promise_no_ids() -> None:
    first = answering("recurlm", 1.0, 17.0)
    check_agreement([first, answering("torch-int8", 1.05)])
    with pytest.raises(RuntimeError, match="answer 1"):
        check_agreement([first, answering("torch-int8", 1.5)])


def test_the_fastest_of_variants() -> None:
    calls = {"slow": 10**6, "quick": 10}
    assert fastest(calls, lambda name: sum(range(calls[name]))) == "quick"


def test_a_worker_answers_and_tells_why_it_fails() -> None:
    worker = Worker("doubling", Doubling, threads=1)
    assert worker.ask("answers") == [1.0]
    assert worker.ask("tokens_per_second", 0.0) > 0
    assert worker.ask("answers") == [2.0]
    assert "peak_memory_mb" in worker.ask("facts")
    worker.close()
    worker = Worker("failing", Failing, threads=1)
    with pytest.raises(RuntimeError, match="failing failed: ZeroDivisionError: no answer"):
        worker.ask("answers")
    worker.close()
