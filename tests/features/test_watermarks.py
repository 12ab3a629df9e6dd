from features.watermarks import IDLE_MS, Watermarks


def heard(expected: set[int], **ms: int) -> Watermarks:
    """Make watermarks of partitions by their names: p0=5."""
    watermarks = Watermarks(frozenset(expected))
    for name, each in ms.items():
        watermarks.note(int(name[1:]), each)
    return watermarks


def test_all_are_where_the_last_one_is_and_none_goes_back() -> None:
    watermarks = heard(set(), p0=5, p1=3)
    before = watermarks.lowest_ms
    watermarks.note(1, 2)

    assert (before, watermarks.lowest_ms, heard(set()).lowest_ms) == (3, 3, 0)


def test_before_each_expected_one_was_heard_of_all_are_at_the_beginning() -> None:
    watermarks = heard({0, 1}, p0=5, p2=7)
    before = watermarks.lowest_ms
    watermarks.note(1, 6)

    assert (before, watermarks.lowest_ms) == (0, 5)


def test_one_that_is_too_far_behind_holds_nobody_up() -> None:
    assert heard({0, 1}, p0=IDLE_MS + 9, p1=9).lowest_ms == IDLE_MS + 9
    assert heard({0, 1}, p0=IDLE_MS + 9, p1=10).lowest_ms == 10


def test_what_was_heard_is_written_and_read_again() -> None:
    again = Watermarks(frozenset({0, 1}))
    again.restore(heard({0, 1}, p0=5, p1=3).to_json())

    assert again.lowest_ms == 3
