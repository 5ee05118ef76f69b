"""A slow answer to an old question does not undo what was heard since."""

from serving.freshness import Freshest


def test_the_answer_to_the_newest_question_counts() -> None:
    heard = Freshest("")
    assert heard.hear("first", 1.0)
    assert heard.hear("third", 3.0)
    assert not heard.hear("second, late", 2.0)
    assert (heard.value, heard.asked_at) == ("third", 3.0)
    assert heard.hear("again", 3.0)
    assert heard.value == "again"
