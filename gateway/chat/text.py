r"""What a line, a name and a room's name may be, from Unicode properties.

Sources: the Unicode Standard, UAX #24 (scripts), UAX #31 (identifiers), UTS #39
(security) and ECMA-48 (escape sequences).  Knows no bytes: its input is decoded text.

The patterns are written for ``regex.V1``, where sets nest: ``[A--B]`` is A without B,
``[A&&B]`` is what both hold.  The properties used: ``DI`` Default_Ignorable_Code_Point
(invisible by nature), ``NChar`` noncharacters, ``scx`` Script_Extensions.
"""

from __future__ import annotations

import unicodedata

import regex

MAX_NAME_CHARACTERS = 32

_FLAGS = regex.V1 | regex.VERBOSE

# The alternatives are tried in this order at each place of the line.
_UNWANTED = regex.compile(
    r"""
    # The flags of Scotland and its like are spelt in tags; elsewhere tags are hidden text.
    (?P<flag> \U0001F3F4 [\U000E0030-\U000E0039\U000E0061-\U000E007A]{1,6} \U000E007F )

    # ECMA-48.  Each ends early where a control byte stands, or with the line: what a
    # terminal would have swallowed.  A sequence cut in two leaves harmless letters, since
    # neither ESC nor the C1 controls ever get through.
    | (?: \x1B\[ | \x9B ) [0-?]* [ -/]* [@-~]?                     # CSI
    | (?: \x1B[\]PX^_] | [\x90\x98\x9D-\x9F] ) \P{Cc}*      # OSC, DCS, …
    | \x1B[NO] [ -~]?                                 # one character of G2, G3; arrows
    | \x1B [ -/]* [0-~]?                              # every other

    # What ends a line or moves to the next column parts words.
    | (?P<blank> [\t\n\v\f\r\x85\p{Zl}\p{Zp}]+ )

    # Cs cannot be encoded, Co means what each terminal likes (some draw images with it),
    # FFF9-FFFB hold text under other text.  Unassigned characters stay unless they are set
    # aside to be invisible: they may be an emoji that is newer than `regex`.
    | [\p{Cc}\p{Cs}\p{Co}\p{NChar}\uFFF9-\uFFFB]

    # Invisible format characters, the bidirectional controls among them, but not ZWNJ, ZWJ
    # and MVS, which scripts and emoji need.  (Variation selectors are marks.)
    | [[\p{DI}&&[\p{Cf}\p{Cn}]]--[\u200C\u200D\u180E]]
    """,
    _FLAGS,
)

# Eight is more than languages need; a tower of them climbs over other people's lines.
_MARK = r"[\p{Mn}\p{Me}\u200C\u200D\u180E]"
_TOO_MANY_MARKS = regex.compile(rf"({_MARK}{{8}}) {_MARK}+", _FLAGS)

_VISIBLE = regex.compile(r"[^\p{White_Space}\p{DI}]", _FLAGS)


def clean_line(line: str) -> str:
    """What of a typed line may reach another terminal; '' if there is nothing to see.

    The result holds no control, nothing that ends a line, no half of a surrogate pair, no
    bidirectional control and no blank at its end.  Cleaning it again changes nothing.  A
    line with nothing to take out comes back as the same object.
    """
    if line.isascii() and line.isprintable():
        return line.rstrip()
    line = _UNWANTED.sub(lambda found: found["flag"] or (" " if found["blank"] else ""), line)
    line = _TOO_MANY_MARKS.sub(r"\1", line)
    return line.rstrip() if _VISIBLE.search(line) else ""


class NameRefused(ValueError):
    """Its text is a sentence for the person: what is wrong and what to do."""


class RoomRefused(ValueError):
    """Like ``NameRefused``, for the name of a room."""


# Every script of Unicode 16, by ISO 15924 code: `regex` tells whether a character is of a
# given script, not which one it is of.  Those of later versions count as one script.
_SCRIPTS = """
    Latn Adlm Aghb Ahom Arab Armi Armn Avst Bali Bamu Bass Batk Beng Bhks Bopo Brah Brai Bugi
    Buhd Cakm Cans Cari Cham Cher Chrs Copt Cpmn Cprt Cyrl Deva Diak Dogr Dsrt Dupl Egyp Elba
    Elym Ethi Gara Geor Glag Gong Gonm Goth Gran Grek Gujr Gukh Guru Hang Hani Hano Hatr Hebr
    Hira Hluw Hmng Hmnp Hung Ital Java Kali Kana Kawi Khar Khmr Khoj Kits Knda Krai Kthi Lana
    Laoo Lepc Limb Lina Linb Lisu Lyci Lydi Mahj Maka Mand Mani Marc Medf Mend Merc Mero Mlym
    Modi Mong Mroo Mtei Mult Mymr Nagm Nand Narb Nbat Newa Nkoo Nshu Ogam Olck Onao Orkh Orya
    Osge Osma Ougr Palm Pauc Perm Phag Phli Phlp Phnx Plrd Prti Rjng Rohg Runr Samr Sarb Saur
    Sgnw Shaw Shrd Sidd Sind Sinh Sogd Sogo Sora Soyo Sund Sunu Sylo Syrc Tagb Takr Tale Talu
    Taml Tang Tavt Telu Tfng Tglg Thaa Thai Tibt Tirh Tnsa Todr Toto Tutg Ugar Vaii Vith Wara
    Wcho Xpeo Xsux Yezi Yiii Zanb
"""
# Written together: Japanese, Korean, Chinese (UTS #39, 5.1).
_TOGETHER = ("Hani Hira Kana", "Hani Hang", "Hani Bopo")


def _of(scripts: str) -> str:
    return "".join(rf"\p{{scx={script}}}" for script in scripts.split())


_SHARED = _of("Zyyy Zinh")  # Common and Inherited
_ONE_SCRIPT = regex.compile(
    "|".join(f"[{_SHARED}{_of(scripts)}]*" for scripts in (*_SCRIPTS.split(), *_TOGETHER))
    + f"|[{_SHARED}[^{_of(_SCRIPTS)}]]*",
    _FLAGS,
)

# Not the invisible ones (variation selectors, Hangul fillers), and not the 𝐥𝐞𝐭𝐭𝐞𝐫𝐬 of
# mathematics, which are of no script and pass for those of one.
_NOT_OF_A_NAME = regex.compile(
    r"[^[\p{L}\p{M}\p{Nd}_.\-]--\p{DI}--[[\p{L}--\p{Lm}]&&\p{scx=Zyyy}]]", _FLAGS
)
_SIMPLE = regex.compile(rf"[A-Za-z0-9_.\-]{{1,{MAX_NAME_CHARACTERS}}}", _FLAGS)  # as most are
_MARK_FIRST = regex.compile(r"\p{M}", _FLAGS)
_MARKS_IN_A_NAME = regex.compile(r"[\p{Mn}\p{Me}]{5}", _FLAGS)  # UTS #39, 5.4: at most four
_DIGIT = regex.compile(r"\p{Nd}", _FLAGS)


def check_name(text: str) -> str:
    """The name that ``text`` gives: NFC, without the blanks around it.

    Raises ``NameRefused``.  The rules are DESIGN 4's, with UTS #39 for mixed scripts (5.1),
    mixed digits (5.3) and piled marks (5.4).
    """
    name = unicodedata.normalize("NFC", text.strip())
    if why := _why_refused(name):
        raise NameRefused(f"a name {why}")
    return name


def check_room(text: str) -> str:
    """The room that ``text`` means, folded: ``Lobby`` is ``lobby``.  Raises ``RoomRefused``."""
    room = fold_name(text.strip())
    if why := _why_refused(room):
        raise RoomRefused(f"a room's name {why}")
    return room


def fold_name(name: str) -> str:
    """The key under which a name is unique: two names that differ in case alone share it.

    Canonical caseless matching (Unicode 3.13, D145), with its result in NFC.
    """
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
    return name if folded == name else folded  # one string, not two that are the same


def _why_refused(name: str) -> str:
    """What is wrong with a name, to be read after "a name"; '' if nothing is."""
    if _SIMPLE.fullmatch(name):
        return ""
    if found := _NOT_OF_A_NAME.search(name):
        return (
            "may hold only letters, digits, marks, '_', '-' and '.': "
            f"please leave out {_shown(found[0])}"
        )
    if not name:
        return "has at least one character: please type one"
    if len(name) > MAX_NAME_CHARACTERS:
        return (
            f"has at most {MAX_NAME_CHARACTERS} characters and this one has {len(name)}: "
            "please shorten it"
        )
    if _MARK_FIRST.match(name):
        return "must not start with a combining mark: please start with what it stands on"
    if _MARKS_IN_A_NAME.search(name):
        return "has at most 4 combining marks in a row: please leave some out"
    if not _ONE_SCRIPT.fullmatch(name):
        return "must be written in one script: please do not mix letters that only look alike"
    zeros = {ord(digit) - unicodedata.decimal(digit, 0) for digit in _DIGIT.findall(name)}
    if len(zeros) > 1:
        return "takes all its digits from one script: please do not mix them"
    return ""


def _shown(character: str) -> str:
    """A character that was refused, without letting it act on the terminal."""
    if character.isspace():
        return "the blank"
    visible = character.isprintable() and _VISIBLE.match(character)
    return f"'{character}'" if visible else f"U+{ord(character):04X}"
