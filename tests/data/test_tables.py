import numpy as np
import pandas as pd
import pytest

from neurodec.data.tables import is_missing, read_table, same_name
from neurodec.errors import NeurodecError


def table(tmp_path, content, name="a.csv", required=("onset", "stimulus")):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, required)


PLAIN = "onset,stimulus\n1.5,cat\n2.5,dog\n"


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.replace("\n", "\r\n"),
        b"\xef\xbb\xbf" + PLAIN.encode(),
        PLAIN.encode("utf-16"),
        PLAIN.replace(",", ";").replace(".", ","),
        PLAIN.replace(",", "\t"),
        'onset,stimulus\n"1,5",cat\n"2,5",dog\n',
        " onset , stimulus \n 1.5 , cat \n2.5,dog \n\n,\n",
    ],
    ids=["plain", "crlf", "bom", "utf16", "semicolon", "tab", "decimal-comma", "blanks"],
)
def test_every_spelling_of_a_table_reads_alike(tmp_path, content):
    found = table(tmp_path, content)
    assert found["onset"].tolist() == [1.5, 2.5]
    assert found["stimulus"].tolist() == ["cat", "dog"]


def test_a_tsv_may_be_separated_by_commas_after_all(tmp_path):
    assert table(tmp_path, PLAIN, "a.tsv")["stimulus"].tolist() == ["cat", "dog"]


def test_missing_onsets_are_nan_and_rows_keep_their_numbers(tmp_path):
    found = table(tmp_path, "onset,duration,stimulus\nn/a,n/a,x\n,,\n2,0.5,y\n")
    assert found["onset"].isna().tolist() == [True, False]
    assert found.index.tolist() == [0, 2]


def test_whole_numbers_are_one_label_however_written(tmp_path):
    assert table(tmp_path, "onset,stimulus\n1,1.0\n2,2.0\n3,n/a\n")["stimulus"].tolist() == ["1", "2", "n/a"]
    assert table(tmp_path, "onset,stimulus\n1,1.5\n2,2.0\n")["stimulus"].tolist() == ["1.5", "2.0"]
    assert table(tmp_path, "onset,stimulus\n1,007\n2,008\n")["stimulus"].tolist() == ["007", "008"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is empty"),
        ("time,stimulus\n1,a\n", r"lacks the column\(s\) onset; it has time, stimulus"),
        ("onset,stimulus\nsoon,a\n", "has 'soon' in the column onset at row 2"),
        (
            "onset,stimulus\n1,a\n9223372036854775808,b\n",
            "has '9223372036854775808' in the column onset at row 3",
        ),
        ("onset,stimulus\n1,a\ninf,b\n", "'inf'"),
        ("onset,stimulus\n1,a,b,c\n", "cannot be read as a table"),
        ("onset,stimulus,onset\n1,a,2\n", "has the column onset twice"),
        ("onset,stimulus\n1,k\u00e4tzchen\n".encode("latin1"), "not UTF-8 text .*CSV UTF-8.*iconv"),
        (b"onset,stimulus\n1,a\x00\n", "binary zeros"),
    ],
)
def test_what_is_no_table_is_told_with_the_way_out(tmp_path, content, sentence):
    with pytest.raises(NeurodecError, match=sentence) as caught:
        table(tmp_path, content)
    assert "a.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_words_for_nothing():
    cells = pd.Series(["", " ", "n/a", "NaN", "None", "NULL", "0", "none of these"])
    assert is_missing(cells).tolist() == [True] * 6 + [False] * 2
    assert is_missing(pd.Series([np.nan, None, 1.0])).tolist() == [True, True, False]


def test_names_of_one_subject():
    assert same_name("1", "01")
    assert same_name("sub-01", "1")
    assert same_name("a", "a")
    assert not same_name("1", "11")
    assert not same_name("0", "")
