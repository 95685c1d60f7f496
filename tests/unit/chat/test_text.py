"""What a line, a name and a room's name may be."""

import sys
import unicodedata

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.chat.text import (
    MAX_NAME_CHARACTERS,
    NameRefused,
    RoomRefused,
    check_name,
    check_room,
    clean_line,
    fold_name,
)

EVERY_CHARACTER = [chr(code) for code in range(sys.maxunicode + 1)]
FORBIDDEN = regex.compile(r"[\p{Cc}\p{Cs}\p{Co}\p{Zl}\p{Zp}\p{NChar}\p{Bidi_Control}]", regex.V1)

# What trips a cleaner: pieces of sequences, of emoji, of flags; everything else now and then.
troublesome = st.one_of(
    st.text(st.sampled_from("ab ;[]\\O0m\a\b\t\n\r\x1b\x18\x80\x85\x90\x9b\x9c\x9d\u2028\u202e")),
    st.text(
        st.sampled_from("a \u0301\u200b\u200c\u200d\u200e\ufe0f\u3164🏴👩🚀\U000e0067\U000e007f")
    ),
    st.text(st.characters(codec=None)),
)
name_characters = st.characters(categories=["L", "M", "Nd"], include_characters="_-.")


# --- lines


@pytest.mark.parametrize(
    "line",
    [
        "hello",
        "  indented, with 'quotes' & <angles>",
        "* bob joined the chat",
        "Привет, José! 你好 नमस्ते שלום",
        "می‌خواهم",  # ZWNJ of Persian
        "क्‍ष",  # ZWJ of Hindi
        "👩‍🚀 ❤️ 1️⃣ 👍🏽 🇫🇷",  # ZWJ, variation selectors, keycap, skin, flag
        "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",  # the flag of Scotland
        "葛\U000e0100",  # a variation selector of Han
        "ᠠ\u180b ᠨ\u180eᠠ",  # Mongolian
        "\u0661\u0600 \U00013430 x",  # visible format characters of scripts
        "unassigned \U0001facd is a newer emoji",
    ],
)
def test_plain_line_comes_back_as_the_same_object(line):
    """DESIGN 4, the line front: a cleaner takes out what is dangerous and nothing else."""
    assert clean_line(line) is line


@pytest.mark.parametrize(
    ("line", "clean"),
    [
        ("a\x00b\x07c\x08d\x7fe", "abcde"),
        ("a\x80b\x84c\x99d", "abcd"),
        ("a\xadb\u200bc\u2060d\ufeffe\U000e0001f", "abcdef"),
        ("a\ud800b\ue000c\uffffd\U0010eeeee", "abcde"),
        ("a\ufff9b\ufffac\ufffbd", "abcd"),
        ("a\u2065b\U000e0fffc", "abc"),  # unassigned, but set aside to be invisible
    ],
)
def test_control_and_hidden_characters_are_taken_out(line, clean):
    """DESIGN 4: control bytes never reach another terminal."""
    assert clean_line(line) == clean


@pytest.mark.parametrize("end", [*"\t\n\v\f\r\x85\u2028\u2029", "\r\n"])
def test_what_ends_a_line_becomes_one_space(end):
    """DESIGN 4: what a person types can't start a line on another's terminal."""
    assert clean_line(f"hi{end}bob: I owe alice 5 €") == "hi bob: I owe alice 5 €"
    assert clean_line(f"{end}* you are banned") == " * you are banned"
    assert clean_line(f"hi{end}") == "hi"


@pytest.mark.parametrize(
    ("line", "clean"),
    [
        ("a\x1b[31mred\x1b[0m b", "ared b"),
        ("a\x1b[1;2 qb", "ab"),
        ("a\x9b2Jb", "ab"),
        ("a\x1b[38;5", "a"),
        ("a\x1b[", "a"),
        ("a\x1b", "a"),
        ("a\x1b[Ab\x1bOBc", "abc"),  # arrow keys, as nc sends them
        ("a\x1bcb\x1b(0c\x1b#8d\x1b7e", "abcde"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\x1b]8;;http://x/\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
        ("a\x9d0;title\x9cb", "ab"),
        ("a\x1bPq#0\x1b\\b\x1b_G1\x1b\\c\x1b^x\x1b\\d\x1bXx\x1b\\e", "abcde"),
        ("a\x1b]52;c;aGk=", "a"),
        ("a\x1b]0;title\nb", "a b"),
        ("a\x1b\x1b[Ab", "ab"),
        ("a\x1béb", "aéb"),
        ("a\x1b\x9b\x1b]\x9d", "a"),
    ],
)
def test_escape_sequences_are_taken_out_whole(line, clean):
    """DESIGN 4: escape sequences never reach another terminal."""
    assert clean_line(line) == clean


def test_escape_sequence_cut_in_two_is_harmless():
    """DESIGN 4: escape sequences never reach another terminal, also in two lines."""
    sequence = "\x1b]0;title\x1b\\\x1b[31m\x9b2J"
    for cut in range(len(sequence)):
        both = clean_line(sequence[:cut]) + clean_line(sequence[cut:])
        assert both.isprintable()


def test_bidirectional_controls_are_taken_out():
    """DESIGN 4: bidirectional overrides never reach another terminal."""
    line = "a\u202ab\u202bc\u202cd\u202de\u202ef\u2066g\u2067h\u2068i\u2069j\u200ek\u200fl\u061cm"
    assert clean_line(line) == "abcdefghijklm"


def test_tags_stay_only_in_flags():
    """DESIGN 4: what cannot be seen must not be sent; the flag of Wales can be seen."""
    wales = "🏴\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f"
    assert clean_line(f"{wales}!\x00") == f"{wales}!"
    assert clean_line("hi\U000e0067\U000e0062\U000e007f") == "hi"
    assert clean_line("🏴\U000e0067\U000e0062") == "🏴"
    assert clean_line("🏴\xad\U000e0067\U000e007f") == "🏴"


@pytest.mark.parametrize(
    "line", ["", " ", "\t\r\n", "\u3000\xa0", "\u200d\ufe0f \u3164", "\x1b[0m "]
)
def test_line_with_nothing_to_see_says_nothing(line):
    """DESIGN 4: TEXT is what others see."""
    assert clean_line(line) == ""


def test_blanks_are_stripped_at_the_end_only():
    """DESIGN 4: NAME: TEXT."""
    assert clean_line("  a  b \u3000 ") == "  a  b"
    assert clean_line("a \u200b \x1b[0m") == "a"


def test_marks_do_not_pile_up():
    """DESIGN 4: a person's line does not climb over another's."""
    assert clean_line("a" + "\u0301" * 50 + "b") == "a" + "\u0301" * 8 + "b"
    assert clean_line("a" + "\u0301\u200d" * 50) == "a" + "\u0301\u200d" * 4
    assert clean_line("လျှို့ဝှက် ཧྐྵྨླྺྼྻྂ") == "လျှို့ဝှက် ཧྐྵྨླྺྼྻྂ"


def test_no_character_gets_through_that_must_not():
    """DESIGN 4: every character of Unicode, inside a line."""
    for character in EVERY_CHARACTER:
        clean = clean_line(f"a{character}b")
        assert not FORBIDDEN.search(clean)
        clean.encode()


@given(troublesome)
def test_clean_line_is_safe_and_cleaning_again_changes_nothing(line):
    """DESIGN 4: control bytes, escape sequences and overrides never reach another terminal."""
    clean = clean_line(line)
    assert not FORBIDDEN.search(clean)
    assert len(clean.splitlines()) <= 1
    assert clean == clean.rstrip() == clean_line(clean)


# --- names


@pytest.mark.parametrize(
    "name",
    [
        *("alice", "José", "Иван", "Ελένη", "محمد", "עדי", "अनिल", "สมชาย", "ᏣᎳᎩ", "Kaʻiulani"),
        *("王小明", "山田たろう", "ラーメン", "佐々木", "김철수", "金철수", "ㄅ王", "𐌰𐌱"),
        *("a", "7", "R2-D2", "_x_", "-.a", "x" * 32, "٣", "محمد7", "ẵ", "m\u0302"),
        *("_", "...", "-", "_-.", ".\u0308"),
    ],
)
def test_good_name_is_taken(name):
    """DESIGN 4: 1-32 characters of letters, digits, marks, `_`, `-`, `.`, from one script."""
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has at least one character"),
        ("  ", "has at least one character"),
        ("x" * 33, "has at most 32 characters and this one has 33"),
        ("john smith", "leave out the blank"),
        ("a:", "leave out ':'"),
        ("*", r"leave out '\*'"),
        ("a{b}", "leave out '{'"),
        ("a😀", "leave out '😀'"),
        ("²", "leave out '²'"),
        ("Ⅷ", "leave out 'Ⅷ'"),
        ("a\nb", "leave out the blank"),
        ("a\x1bb", r"leave out U\+001B"),
        ("a\u202eb", r"leave out U\+202E"),
        ("a\u200db", r"leave out U\+200D"),
        ("a\ufe0f", r"leave out U\+FE0F"),
        ("a\u034f", r"leave out U\+034F"),
        ("\u3164", r"leave out U\+3164"),  # HANGUL FILLER: a letter that cannot be seen
        ("a\ud800", r"leave out U\+D800"),
        ("𝐚lice", "leave out '𝐚'"),
        ("\u0301a", "must not start with a combining mark"),
        ("aлice", "one script"),
        ("pаypal", "one script"),  # a Cyrillic а
        ("Aλ", "one script"),
        ("a\u064b", "one script"),  # a mark of Arabic
        ("Tarō山", "one script"),
        ("かㄅ", "one script"),
        ("か김", "one script"),
        ("a٣", "one script"),
        ("1𝟏", "digits from one script"),
        ("٣3", "digits from one script"),
        ("a" + "\u0331" * 5, "4 combining marks"),
    ],
)
def test_refused_name_says_why(text, why):
    """DESIGN 4: a refused name says why (`* …`) and asks again."""
    with pytest.raises(NameRefused, match=why) as caught:
        check_name(text)
    said = str(caught.value)
    assert said.startswith("a name ")
    assert ": please " in said
    assert clean_line(said) == said


def test_name_is_nfc_without_blanks_around_it():
    """DESIGN 4: names are NFC, and have 1-32 characters after that."""
    assert check_name(" Jose\u0301\t") == "José"
    assert check_name("e\u0301" * MAX_NAME_CHARACTERS) == "é" * MAX_NAME_CHARACTERS


@given(st.text(name_characters, max_size=40) | troublesome)
def test_name_that_was_taken_is_taken_again(text):
    """DESIGN 4: a name can travel between gateways and stay what it is."""
    try:
        name = check_name(text)
    except NameRefused:
        return
    assert check_name(name) == name == unicodedata.normalize("NFC", name) == clean_line(name)
    assert 1 <= len(name) <= MAX_NAME_CHARACTERS


def test_fold_is_the_same_for_names_that_differ_in_case():
    """DESIGN 4: unique in the whole cluster without regard to case."""
    assert fold_name("ALICE") == fold_name("Alice") == "alice"
    assert fold_name("ИВАН") == fold_name("иван")
    assert fold_name("Straße") == fold_name("STRASSE")
    assert fold_name("Οδυσσεύς") == fold_name("ΟΔΥΣΣΕΎΣ")
    assert fold_name("ᏣᎳᎩ") == fold_name("ꮳꮃꭹ")
    assert fold_name("Jose\u0301") == fold_name("JOSÉ") != fold_name("jose")


@given(st.text(name_characters))
@example("\u1fb3\u0327")  # its iota is a mark in lower case, a letter in upper case
def test_fold_is_the_same_for_every_case_variant(name):
    """DESIGN 4, Unicode 3.13 D145: canonical caseless matching."""
    # The Turkish dotless i is no case variant of i, but its capital is that of i.
    name = unicodedata.normalize("NFD", name.replace("ı", ""))
    key = fold_name(unicodedata.normalize("NFC", name))
    variants = {name, name.upper(), name.lower(), name.title(), key}
    assert {fold_name(variant) for variant in variants} == {key}


# --- rooms


def test_room_is_a_name_folded():
    """DESIGN 4: one room has one name, whatever the case."""
    assert check_room(" Lobby ") == check_room("LOBBY") == "lobby"
    assert check_room("КИНО") == "кино"


def test_refused_room_says_why():
    """DESIGN 4: what was refused says why."""
    with pytest.raises(RoomRefused, match=r"^a room's name .*: please leave out '\}'$"):
        check_room("a}b")


@given(st.text(name_characters, max_size=40))
def test_room_that_was_taken_is_taken_again(text):
    """DESIGN 3: a room's keys share the tag {room}."""
    try:
        room = check_room(text)
    except RoomRefused:
        return
    assert check_room(room) == room == fold_name(room)
