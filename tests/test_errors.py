import pickle

import pytest

from jftdata import errors


@pytest.mark.parametrize(
    ("kind", "builtin", "exit_code"),
    [
        (errors.BadArgument, ValueError, 2),
        (errors.UnknownOption, KeyError, 2),
        (errors.OutputExists, FileExistsError, 2),
        (errors.BadInput, ValueError, 3),
        (errors.MissingInput, FileNotFoundError, 3),
        (errors.UnknownName, KeyError, 3),
        (errors.CycleError, ValueError, 3),
        (errors.Damaged, OSError, 4),
        (errors.TooManyRejects, ValueError, 6),
        (errors.NonFinite, ArithmeticError, 7),
        (errors.Locked, BlockingIOError, 75),
    ],
)
def test_every_error_is_ours_and_a_builtin_one_and_has_its_exit_code(kind, builtin, exit_code):
    error = kind("the sentence")
    assert isinstance(error, errors.JftDataError)
    assert isinstance(error, builtin)
    assert error.exit_code == exit_code
    assert str(error) == "the sentence"  # KeyError would print a repr, OSError an errno
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert str(back) == "the sentence"


def test_a_rejection_keeps_its_reason_through_pickle():
    back = pickle.loads(pickle.dumps(errors.ImageRejected("damaged", "bad huffman code")))
    assert (back.reason, str(back)) == ("damaged", "bad huffman code")


def test_an_interruption_keeps_its_signal_through_pickle():
    back = pickle.loads(pickle.dumps(errors.Interrupted(15, "stopped")))
    assert (back.signal_number, str(back)) == (15, "stopped")


def test_an_interruption_is_seen_by_who_waits_for_control_c():
    with pytest.raises(KeyboardInterrupt):
        raise errors.Interrupted(2, "stopped")


def test_a_misspelt_name_is_answered_with_the_nearest():
    assert str(errors.one_of("recipe", "tinny", ["tiny", "paper"])) == (
        "recipe 'tinny' is not known. Did you mean 'tiny'? Known: paper, tiny."
    )


def test_a_long_list_of_names_is_not_printed():
    message = str(errors.one_of("label", "name1x", [f"name{i}" for i in range(31)]))
    assert "Known:" not in message
    assert "Did you mean 'name1" in message
