import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from browser_node.adapters.chromium.pictures.pictures import PictureWish
from tests.support.casts import CastPage, FakeTimers, FakeWatcher, a_picture


@pytest.fixture
def timers() -> FakeTimers:
    return FakeTimers()


def animate(page: CastPage, timers: FakeTimers, seconds: float) -> None:
    for _ in range(round(seconds * 60)):
        page.change()
        timers.step(1 / 60)


def test_nobody_watches_and_nothing_is_cast(timers: FakeTimers) -> None:
    page = CastPage(timers)

    animate(page, timers, 1)

    assert page.told == []


@pytest.mark.parametrize("fps", [1, 5, 10, 25])
def test_a_watcher_of_a_moving_page_gets_its_rate(timers: FakeTimers, fps: int) -> None:
    page, watcher = CastPage(timers), FakeWatcher(timers, fps)
    page.cast.add(watcher)

    animate(page, timers, 4)

    assert 0.75 * fps * 4 <= len(watcher.seen) <= fps * 4 + 1
    assert watcher.contents == sorted(set(watcher.contents))


def test_a_picture_is_fresh_when_it_is_shown(timers: FakeTimers) -> None:
    page, watcher = CastPage(timers), FakeWatcher(timers, 25)
    page.cast.add(watcher)
    ages = []
    for _ in range(240):
        page.change()
        timers.step(1 / 60)
        if watcher.seen and watcher.seen[-1][0] > timers.time() - 1 / 60:
            ages.append(page.content - watcher.contents[-1])

    # Two repaints: the one under way when it was asked for, and the one since.
    assert sorted(ages)[len(ages) // 2] <= 2


def test_a_slow_rate_leaves_the_browser_alone_in_between(timers: FakeTimers) -> None:
    page, watcher = CastPage(timers), FakeWatcher(timers, 5)
    page.cast.add(watcher)
    animate(page, timers, 1)
    cast = 0
    for _ in range(120):
        page.change()
        timers.step(1 / 60)
        cast += page.is_cast

    assert cast < 120 * 0.35
    assert page.sent <= 2 * len(watcher.seen)


def test_a_still_page_is_cast_without_a_picture(timers: FakeTimers) -> None:
    page, watcher = CastPage(timers), FakeWatcher(timers, 25)
    page.cast.add(watcher)
    animate(page, timers, 1)
    timers.step(1)
    sent, told, seen = page.sent, len(page.told), len(watcher.seen)

    timers.step(60)

    assert (page.sent, len(page.told), len(watcher.seen)) == (sent, told, seen)
    assert page.is_cast
    page.change()
    timers.step(0.02)
    assert watcher.contents[-1] == page.content


def test_each_watcher_has_a_pace_of_its_own(timers: FakeTimers) -> None:
    page, viewer, recorder = CastPage(timers), FakeWatcher(timers, 25), FakeWatcher(timers, 5)
    page.cast.add(recorder)
    page.cast.add(viewer)

    animate(page, timers, 4)

    assert 75 <= len(viewer.seen) <= 101
    assert 15 <= len(recorder.seen) <= 21


def test_a_watcher_that_takes_nothing_delays_nobody_and_comes_back_to_the_present(timers: FakeTimers) -> None:
    page, slow, good = CastPage(timers), FakeWatcher(timers, 25), FakeWatcher(timers, 25)
    page.cast.add(slow)
    page.cast.add(good)
    animate(page, timers, 1)
    slow.blocked = True
    count = len(slow.seen)

    animate(page, timers, 2)

    assert len(slow.seen) == count
    assert len(good.seen) > 50
    timers.step(1)
    slow.blocked = False
    page.cast.turn()
    timers.step(0.1)
    assert slow.contents[count:] == [page.content]


def test_nothing_is_cast_while_nobody_takes_anything(timers: FakeTimers) -> None:
    page, watcher = CastPage(timers), FakeWatcher(timers, 25)
    page.cast.add(watcher)
    animate(page, timers, 1)
    watcher.blocked = True

    animate(page, timers, 1)
    sent = page.sent
    animate(page, timers, 1)

    assert page.sent == sent
    assert not page.is_cast


def test_the_largest_wish_holds_for_all(timers: FakeTimers) -> None:
    page = CastPage(timers)
    page.cast.add(FakeWatcher(timers, 5, PictureWish(1280, 720, 60)))
    animate(page, timers, 0.5)
    large = FakeWatcher(timers, 25, PictureWish(640, 1080, 80))
    page.cast.add(large)
    animate(page, timers, 0.5)
    page.cast.remove(large)
    animate(page, timers, 0.5)

    sizes = [(params["maxWidth"], params["maxHeight"], params["quality"]) for params in page.settings]
    assert sizes[0] == sizes[-1] == (1280, 720, 60)
    assert (1280, 1080, 80) in sizes


def test_a_page_that_would_not_begin_is_tried_again(timers: FakeTimers) -> None:
    page, watcher = CastPage(timers), FakeWatcher(timers, 5)
    real = page.cast._tell
    page.cast._tell = lambda method, params: page.cast.refused()
    page.cast.add(watcher)
    timers.step(0.5)
    page.cast._tell = real

    timers.step(0.3)

    assert watcher.contents == [page.content]


def test_pictures_of_a_cast_that_was_stopped_are_not_taken(timers: FakeTimers) -> None:
    page, watcher = CastPage(timers), FakeWatcher(timers, 1)
    page.cast.add(watcher)
    timers.step(0.1)
    assert watcher.contents == [0]
    page.cast.renew()

    page.cast.came(a_picture(99), 1)

    timers.step(5)
    assert 99 not in watcher.contents


@given(
    rates=st.lists(st.sampled_from([1, 5, 12, 25, 30]), min_size=1, max_size=3),
    script=st.lists(
        st.one_of(
            st.tuples(st.just("change"), st.integers(1, 40)),
            st.tuples(st.just("rest"), st.integers(1, 40)),
            st.tuples(st.just("block"), st.integers(0, 2)),
            st.tuples(st.just("wish"), st.integers(0, 2)),
        ),
        max_size=20,
    ),
)
def test_in_the_end_everybody_has_seen_what_the_page_looks_like(
    rates: list[int], script: list[tuple[str, int]]
) -> None:
    timers = FakeTimers()
    page = CastPage(timers)
    watchers = [FakeWatcher(timers, rate) for rate in rates]
    for watcher in watchers:
        page.cast.add(watcher)
    for action, number in script:
        watcher = watchers[number % len(watchers)]
        if action == "change":
            animate(page, timers, number / 60)
        elif action == "rest":
            timers.step(number / 60)
        elif action == "wish":
            watcher.wish = replace(watcher.wish, quality=100 - watcher.wish.quality)
            page.cast.turn()
        else:
            watcher.blocked = not watcher.blocked
            page.cast.turn()
    for watcher in watchers:
        watcher.blocked = False
    page.cast.turn()
    timers.step(3)
    sent = page.sent

    for watcher in watchers:
        assert watcher.contents[-1] == page.content
        assert watcher.contents == sorted(watcher.contents)
        times = [when for when, _ in watcher.seen]
        assert all(b - a >= 0.4 / watcher.fps for a, b in itertools.pairwise(times))
    timers.step(10)
    assert page.sent == sent
