"""An interrupt is not lost, wherever it comes; errors become exit codes."""

from __future__ import annotations

import os
import signal

import pytest

from cbir.cli.output import Bar, exit_code
from cbir.errors import IndexMissingError, UsageError


class Dying:
    """Its destructor is interrupted: Python drops what is raised there."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(10_000):
            pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("then", ["advance", "stage", "leave"])
def test_an_interrupt_in_a_destructor_is_raised_again(then: str) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Bar() as bar:
        bar.stage("x", 10)
        Dying()
        if then == "advance":
            bar.advance()
        elif then == "stage":
            bar.stage("y")
    assert signal.getsignal(signal.SIGINT) is before


def test_without_an_interrupt_nothing_happens() -> None:
    with Bar() as bar:
        bar.stage("x", 10)
        bar.advance(3)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (IndexMissingError("x"), 3),
        (KeyboardInterrupt(), 130),
        (OSError(28, "No space left on device", "file"), 5),
        (NotADirectoryError(20, "Not a directory"), 5),
    ],
)
def test_errors_become_exit_codes(
    error: BaseException, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(error) == code
    out, err = capfd.readouterr()
    assert out == "" and err


def test_our_own_faults_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_code(ZeroDivisionError())
