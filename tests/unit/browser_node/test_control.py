import pytest

from browser_node.adapters.chromium.live.control import Actor, Control


def test_control_is_nobodys_at_first() -> None:
    control = Control()

    assert not control.is_held
    assert control.actor is Actor.AGENT
    assert not control.allows(0)
    assert not control.allows(None)


def test_only_who_was_given_this_lease_may_act() -> None:
    control = Control()

    control.set(3, held=True)

    assert control.actor is Actor.PERSON
    assert [control.allows(generation) for generation in (None, 2, 3, 4)] == [False, False, True, False]


def test_a_newer_lease_ends_the_older_at_once() -> None:
    control = Control()
    control.set(3, held=True)

    control.set(4, held=True)

    assert not control.allows(3)
    assert control.allows(4)


@pytest.mark.parametrize("news", [(2, True), (2, False), (3, True)])
def test_news_of_an_older_lease_or_of_one_that_was_handed_back_change_nothing(news: tuple[int, bool]) -> None:
    control = Control()
    control.set(3, held=True)
    control.set(3, held=False)

    control.set(news[0], held=news[1])

    assert not control.is_held
    assert control.generation == 3


def test_a_hand_back_that_overtakes_the_taking_wins() -> None:
    control = Control()

    control.set(5, held=False)
    control.set(5, held=True)

    assert not control.is_held


def test_changes_are_told_once() -> None:
    control, told = Control(), []
    control.on_change = lambda: told.append((control.generation, control.is_held))

    control.set(1, held=True)
    control.set(1, held=True)
    control.release()
    control.release()

    assert told == [(1, True), (1, False)]
