import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.inputs import MOST_USERS, KnownInput, user_code


@given(
    st.integers(1, 4_000_000_000_000),
    st.lists(st.integers(0, 2**32 - 1), max_size=4),
    st.integers(0, MOST_USERS - 4),
)
def test_what_is_written_is_read_again(since_ms: int, newest: list[int], more: int) -> None:
    known = KnownInput(since_ms, len(newest) + more, tuple(newest))

    assert KnownInput.from_text(known.as_text()) == known


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", "1749513600000", "1749513600000 two", "1749513600000 -1", "1749513600000 1 00000001 00000002"),
        *("1749513600000 9 1 2 3 4 5", "1749513600000 1 -1", "1749513600000 1 1ffffffff", "99999999999999999 1"),
    ],
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|invalid literal|not enough values"):
        KnownInput.from_text(text)


def test_a_user_among_the_newest_is_none_of_the_others() -> None:
    known = KnownInput(1, 3, (user_code("u-1"), user_code("u-2")))

    assert [known.others_than(user) for user in ("u-1", "u-2", "u-3", "")] == [2, 2, 3, 3]


def test_users_are_known_by_32_bits_that_stay_the_same() -> None:
    assert (user_code("u-1"), user_code("")) == (0xB1F1DD6A, 0)
