"""Signals come as an exception where they are wanted, and nowhere else."""

import os
import signal

import pytest
from confluent_kafka import Consumer

from stream_router.demo.interrupts import Interrupted, Interrupts


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def interrupt(request):
    return lambda: os.kill(os.getpid(), request.param)


@pytest.fixture(autouse=True)
def _handlers_of_pytest():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_raised_where_it_is_wanted(interrupt):
    with Interrupts() as interrupts, pytest.raises(Interrupted), interrupts.raising():
        interrupt()


def test_a_clean_up_is_never_cut_short(interrupt):
    with Interrupts() as interrupts:
        with pytest.raises(Interrupted), interrupts.raising():
            interrupt()
        interrupt()
        assert interrupts.came


def test_a_second_signal_does_not_interrupt_the_handling_of_the_first(interrupt):
    done = []

    def work():
        try:
            interrupt()
        finally:
            interrupt()
            done.append("cleaned")

    with Interrupts() as interrupts, pytest.raises(Interrupted), interrupts.raising():
        work()
    assert done == ["cleaned"]


def test_what_must_not_be_torn_ends_first(interrupt):
    done = []

    def work():
        interrupt()
        done.append("noted")

    with Interrupts() as interrupts, pytest.raises(Interrupted), interrupts.raising(), interrupts.held():
        work()
    assert done == ["noted"]


def test_one_that_came_early_is_raised_at_the_first_chance(interrupt):
    with Interrupts() as interrupts:
        interrupt()
        with pytest.raises(Interrupted), interrupts.raising():
            pytest.fail("entered")


def test_a_signal_while_the_process_ends_is_only_noted(interrupt):
    with Interrupts() as interrupts, pytest.raises(Interrupted), interrupts.raising():
        interrupt()
    interrupt()


def test_the_handlers_from_before_are_back_afterwards():
    before = signal.getsignal(signal.SIGINT)
    with Interrupts():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_it_comes_through_code_in_c_that_replaces_exceptions_by_its_own(interrupt):
    class Interrupting:
        def __str__(self):
            interrupt()
            return "group"

    with Interrupts() as interrupts, pytest.raises(Interrupted), interrupts.raising():
        Consumer({"group.id": Interrupting()})
