"""Files as the tools themselves write them: what is read is right, what is not is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from corpus.align.sidecar_files import find_sidecars
from corpus.align.sidecars import Annotation, read_sidecars
from corpus.schemas.drops import Drop

SECOND = 1_000_000


def read(folder: Path, name: str, text: str | bytes) -> tuple[Annotation, list[Drop]]:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_sidecars([path], 60 * SECOND)


def turns(found: Annotation) -> list[tuple[str, float, float]]:
    return [(turn.speaker, turn.start_us / SECOND, turn.stop_us / SECOND) for turn in found.turns or ()]


def words(found: Annotation) -> list[tuple[str, str]]:
    return [(word.speaker, word.text + word.after) for word in found.words or ()]


def codes(drops: list[Drop]) -> list[tuple[str, str]]:
    return [(drop.code, drop.kind) for drop in drops]


def test_webvtt_with_notes_styles_settings_and_voices(tmp_path: Path) -> None:
    text = (
        "\ufeffWEBVTT - a talk\r\nKind: captions\r\n\r\nSTYLE\r\n::cue { color: red }\r\n\r\n"
        "NOTE\r\nnobody said this\r\n\r\nintro\r\n00:01.000 --> 00:02.000 align:start position:0%\r\n"
        "<v.loud Ann Smith>Hello <i>there</i></v>\r\n\r\nNOTE nor this\r\n\r\n"
        "00:00:01.500 --> 00:00:03.000\r\n<v Bob>I &lt;did&gt; &amp; you\r\n<v Ann Smith>No</v>\r\n\r\n"
        "00:00:04.000 -> 00:00:05.000\r\nbad\r\n"
    )
    found, drops = read(tmp_path, "x.vtt", text)
    assert turns(found) == [("Ann Smith", 1, 2), ("Ann Smith", 1.5, 3), ("Bob", 1.5, 3)]
    said = " ".join(word for speaker, word in words(found) if speaker == "Bob")
    assert said == "I & you"
    assert codes(drops) == [("no_times", "fault"), ("no_word", "trim")]


def test_automatic_captions_are_read_once(tmp_path: Path) -> None:
    text = (
        "WEBVTT\nKind: captions\n\n00:00:01.000 --> 00:00:03.000 align:start position:0%\n \n"
        "hello<00:00:01.500><c> there</c>\n\n00:00:03.000 --> 00:00:03.010\nhello there\n \n\n"
        "00:00:03.010 --> 00:00:05.000\nhello there\nnext<00:00:04.000><c> line</c>\n"
    )
    found, drops = read(tmp_path, "x.vtt", text)
    starts = [(word.text, (word.start_us or 0) / SECOND) for word in found.words or ()]
    assert starts == [("hello", 1), ("there", 1.5), ("next", 3.01), ("line", 4)]
    assert found.turns is None
    assert {drop.kind for drop in drops} <= {"trim"}


@pytest.mark.parametrize("before", ["[SPEAKER_00]: ", "Ann: ", "<i>Ann: "])
def test_srt_with_speakers(tmp_path: Path, before: str) -> None:
    first = f"1\n00:00:01,000 --> 00:00:02,500\n{before}Hello</i>\nyou\n"
    text = first + "\n2\n00:00:02,000 --> 00:00:03,000\n- Hi\n"
    found, drops = read(tmp_path, "x.srt", text.encode("utf-16"))
    assert [word for _, word in words(found)] == ["Hello", "you", "Hi"]
    name = "SPEAKER_00" if "[" in before else "Ann"
    assert turns(found) == [(name, 1, 2.5)]
    assert codes(drops) == [("no_word", "trim")]


def cues(*texts: str, web: bool = False) -> str:
    """A subtitle file of one cue a second."""
    point, head = (".", "WEBVTT\n\n") if web else (",", "")
    return head + "".join(
        f"{n}\n00:00:0{n}{point}000 --> 00:00:0{n + 1}{point}000\n{text}\n\n"
        for n, text in enumerate(texts, 1)
    )


def test_names_as_people_have_them_in_meetings(tmp_path: Path) -> None:
    names = ["Jane Doe", "Bob (Acme, Inc.)", "José Núñez-O’Neil", "+1 555-0100", "Jane's iPhone 12 (2)"]
    text = cues(*(f"{name}: at 10: 30" for name in names), web=True).replace("\n", "\r\n")
    found, drops = read(tmp_path, "x.vtt", text)
    assert [speaker for speaker, _, _ in turns(found)] == names
    assert [word for _, word in words(found)] == ["at", "10:", "30"] * len(names)
    assert drops == []


def test_a_cue_without_a_name_goes_on_with_the_speaker_before_it(tmp_path: Path) -> None:
    text = cues("Ann: Hello", "how are you", "Bob: fine", "- no", "so", "Ann: yes")
    later = cues("well", "Bob: so", "Bob: that").replace("00:00:0", "00:00:2")
    found, drops = read(tmp_path, "x.srt", text + later)
    assert turns(found) == [
        ("Ann", 1, 2),
        ("Ann", 2, 3),
        ("Bob", 3, 4),
        ("Ann", 6, 7),
        ("Bob", 22, 23),
        ("Bob", 23, 24),
    ]
    said = [(speaker, word) for speaker, word in words(found) if word in ("how", "are", "you")]
    assert said == [("Ann", "how"), ("Ann", "are"), ("Ann", "you")]
    assert sum(drop.code == "speaker_goes_on" for drop in drops) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (cues("[Ann Smith] Hello", "[Bob] Hi", "[door slams]"), [("Ann Smith", "Hello"), ("Bob", "Hi")]),
        (cues("- Hello.\n– Hi!", "(upbeat music)", "♪ la ♪"), [("", "Hello."), ("", "Hi!"), ("", "la")]),
        (cues(">> hello", "&gt;&gt; you [ __ ] (uh) it"), [("", w) for w in ("hello", "you", "uh", "it")]),
        (
            cues("one") + "\n" + cues("two", "three").replace("\n\n", "\n"),
            [("", w) for w in ("one", "two", "three")],
        ),
        ("1\n00:00:01,5 --> 00:00:02.2500000\nfive\n", [("", "five")]),
    ],
)
def test_what_captions_hold_beside_words_is_no_word(
    text: str, said: list[tuple[str, str]], tmp_path: Path
) -> None:
    found, drops = read(tmp_path, "x.srt", text)
    assert words(found) == said
    assert all(drop.kind == "trim" for drop in drops)


def test_seven_digits_of_a_second(tmp_path: Path) -> None:
    found, _ = read(tmp_path, "x.vtt", "WEBVTT\n\n00:00:03.1200006 --> 00:00:05.7900000\n<v A>Hi\n")
    assert [(turn.start_us, turn.stop_us) for turn in found.turns or ()] == [(3_120_001, 5_790_000)]


def test_hesitations_of_nist_and_ldc(tmp_path: Path) -> None:
    found, drops = read(
        tmp_path, "x.stm", "x 1 A 0 1 <o> %um (%hesitation) 5 % [door slams shut] yes [open\n"
    )
    assert [word for _, word in words(found)] == ["um", "5", "%", "yes", "[open"]
    assert codes(drops) == [("no_word", "trim")]


LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 10
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "Ann"
        xmin = 0
        xmax = 10
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 1
            text = ""
        intervals [2]:
            xmin = 1
            xmax = 2.5
            text = "say ""hi"" [laugh] now"
        intervals [3]:
            xmin = abc
            xmax = 3
            text = "bad"
    item [2]:
        class = "TextTier"
        name = "beeps"
        xmin = 0
        xmax = 10
        points: size = 1
        points [1]:
            number = 2.2
            mark = "beep"
    item [3]:
        class = "IntervalTier"
        name = "empty"
        xmin = 0
        xmax = 10
        intervals: size = 0
"""
SHORT = (
    '"ooTextFile"\n"TextGrid"\n0\n10\n<exists>\n3\n"IntervalTier"\n"Ann"\n0\n10\n3\n0\n1\n""\n1\n2.5\n'
    '"say ""hi"" [laugh] now"\nabc\n3\n"bad"\n"TextTier"\n"beeps"\n0\n10\n1\n2.2\n"beep"\n'
    '"IntervalTier"\n"empty"\n0\n10\n0\n'
)


@pytest.mark.parametrize("text", [LONG, SHORT])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_textgrid_long_and_short(tmp_path: Path, text: str, encoding: str, end: str) -> None:
    found, drops = read(tmp_path, "x.TextGrid", text.replace("\n", end).encode(encoding))
    assert turns(found) == [("Ann", 1, 2.5)]
    assert words(found) == [("Ann", "say"), ("Ann", '"hi"'), ("Ann", "now")]
    assert codes(drops) == [("no_word", "trim"), ("malformed", "fault"), ("tier_unused", "trim")]


def test_textgrid_of_an_aligner(tmp_path: Path) -> None:
    tiers = [("Ann - words", "hello"), ("Ann - phones", "HH"), ("Bob - words", "yes")]
    head = 'File type = "ooTextFile"\nObject class = "TextGrid"\n0\n9\n<exists>\n3\n'
    body = "".join(f'"IntervalTier"\n"{name}"\n0\n9\n1\n1\n2\n"{label}"\n' for name, label in tiers)
    found, drops = read(tmp_path, "x.TextGrid", head + body)
    assert words(found) == [("Ann", "hello"), ("Bob", "yes")]
    assert {word.timing for word in found.words or ()} == {"measured"}
    assert codes(drops) == [("tier_unused", "trim")]


def eaf(*tiers: str) -> str:
    slots = "".join(f'<TIME_SLOT TIME_SLOT_ID="t{i}" TIME_VALUE="{i * 1000}"/>' for i in (1, 2, 4, 5))
    open_slot = '<TIME_SLOT TIME_SLOT_ID="t3"/>'
    slots = slots.replace('<TIME_SLOT TIME_SLOT_ID="t4"', open_slot + '<TIME_SLOT TIME_SLOT_ID="t4"')
    return f"<ANNOTATION_DOCUMENT><TIME_ORDER>{slots}</TIME_ORDER>{''.join(tiers)}</ANNOTATION_DOCUMENT>"


def tier(name: str, body: str, **more: str) -> str:
    told = "".join(f' {key}="{value}"' for key, value in more.items())
    return f'<TIER TIER_ID="{name}"{told}>{body}</TIER>'


def timed(id: str, start: str, stop: str, text: str) -> str:
    times = f'TIME_SLOT_REF1="{start}" TIME_SLOT_REF2="{stop}"'
    value = f"<ANNOTATION_VALUE>{text}</ANNOTATION_VALUE>"
    inner = f'<ALIGNABLE_ANNOTATION ANNOTATION_ID="{id}" {times}>{value}</ALIGNABLE_ANNOTATION>'
    return f"<ANNOTATION>{inner}</ANNOTATION>"


def under(id: str, parent: str, text: str, before: str = "") -> str:
    told = f'ANNOTATION_REF="{parent}"' + (f' PREVIOUS_ANNOTATION="{before}"' if before else "")
    value = f"<ANNOTATION_VALUE>{text}</ANNOTATION_VALUE>"
    return f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="{id}" {told}>{value}</REF_ANNOTATION></ANNOTATION>'


def test_elan_with_nested_tiers(tmp_path: Path) -> None:
    text = eaf(
        tier("ref@A", timed("a1", "t1", "t2", "K.001"), PARTICIPANT="Ann", LINGUISTIC_TYPE_REF="refT"),
        tier("orth@A", under("a2", "a1", "hello there"), PARENT_REF="ref@A", LINGUISTIC_TYPE_REF="orthT"),
        tier("word@A", under("a4", "a2", "there", "a3") + under("a3", "a2", "hello"), PARENT_REF="orth@A"),
        tier("ft@A", under("a5", "a1", "bonjour"), PARENT_REF="ref@A", LINGUISTIC_TYPE_REF="translation"),
        tier(
            "Bob",
            timed("b1", "t2", "t4", "yes") + timed("b2", "t4", "t9", "lost") + timed("b3", "t3", "t5", "no"),
        ),
        tier("Eve", ""),
    )
    found, drops = read(tmp_path, "x.eaf", text)
    assert turns(found) == [("Ann", 1, 2), ("Bob", 2, 4), ("Bob", 3, 5)]
    assert words(found) == [("Ann", "hello"), ("Ann", "there"), ("Bob", "yes"), ("Bob", "no")]
    assert codes(drops) == [("no_times", "fault"), ("tier_unused", "trim")]


def test_elan_segments_without_text_are_turns(tmp_path: Path) -> None:
    found, drops = read(
        tmp_path, "x.eaf", eaf(tier("Ann", timed("a1", "t1", "t2", "") + timed("a2", "t4", "t5", "yes")))
    )
    assert turns(found) == [("Ann", 1, 2), ("Ann", 4, 5)]
    assert words(found) == [("Ann", "yes")]
    assert drops == []


def test_elan_time_begins_where_its_media_file_says(tmp_path: Path) -> None:
    media = "".join(
        f'<MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/films/{name}" MIME_TYPE="x" TIME_ORIGIN="{origin}"/>'
        for name, origin in (("other.mp4", 9000), ("x.wav", 1500))
    )
    text = eaf(tier("Ann", timed("a1", "t1", "t2", "yes")))
    head = f"<ANNOTATION_DOCUMENT><HEADER>{media}</HEADER>"
    found, _ = read(tmp_path, "x.eaf", text.replace("<ANNOTATION_DOCUMENT>", head))
    assert turns(found) == [("Ann", 2.5, 3.5)]


def test_elan_with_a_document_type_is_refused(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbb">]>' + eaf(tier("Ann", timed("a1", "t1", "t2", "&b;")))
    found, (drop,) = read(tmp_path, "x.eaf", bomb)
    assert (found, drop.code) == (Annotation(), "sidecar_unreadable")


def test_whisperx_words_without_times_and_speakers(tmp_path: Path) -> None:
    said = [
        {"word": "In", "start": 1.0, "end": 1.2, "score": 0.9, "speaker": "S0"},
        {"word": "1999", "speaker": "S0"},
        {"word": "yes", "start": 1.6, "end": 2.0, "score": 0.5, "speaker": "S1"},
    ]
    segments = [
        {"start": 1.0, "end": 2.0, "text": "In 1999 yes", "words": said, "speaker": "S0"},
        {"start": 3.0, "end": 4.0, "text": " alone", "words": [], "speaker": None},
        {"start": 5.0, "text": "bad"},
    ]
    found, drops = read(tmp_path, "x.json", json.dumps({"segments": segments, "language": "en"}))
    assert turns(found) == [("S0", 1, 2), ("S1", 1.6, 2)]
    times = [(word.text, (word.start_us or 0) / SECOND, word.timing) for word in (found.words or ())[:3]]
    assert times == [("In", 1, "measured"), ("1999", 1.2, "interpolated"), ("yes", 1.6, "measured")]
    assert codes(drops) == [("not_a_number", "fault"), ("word_without_speaker", "trim")]


def test_moshi_emilia_and_label_studio(tmp_path: Path) -> None:
    moshi = {"alignments": [["hi", [1, 1.5], "SPEAKER_MAIN"], ["x", [2], "SPEAKER_MAIN"]]}
    found, drops = read(tmp_path, "x.json", json.dumps(moshi))
    assert (words(found), codes(drops)) == ([("SPEAKER_MAIN", "hi")], [("malformed", "fault")])
    emilia = [
        {"text": "Hi you.", "start": 1.0, "end": 2.0, "speaker": "SPK_0", "language": "en", "dnsmos": 3.3}
    ]
    found, drops = read(tmp_path, "x.json", json.dumps(emilia))
    assert (turns(found), words(found), drops) == (
        [("SPK_0", 1, 2)],
        [("SPK_0", "Hi"), ("SPK_0", "you.")],
        [],
    )
    region = {"start": 1.0, "end": 2.0, "channel": 0}
    result = [
        {"id": "a", "type": "labels", "value": {**region, "labels": ["Ann"]}},
        {"id": "a", "type": "textarea", "value": {**region, "text": ["hello"]}},
        {"id": "b", "type": "labels", "value": {"start": 3, "end": 4, "labels": ["Noise"]}},
    ]
    other = {"id": 2, "data": {"audio": "/data/upload/1/0123abcd-y.wav"}, "annotations": []}
    own = {
        "id": 1,
        "data": {"audio": "/data/upload/1/89abcdef-x.wav"},
        "annotations": [{"result": result, "was_cancelled": False}, {"result": [], "was_cancelled": True}],
    }
    found, drops = read(tmp_path, "x.json", json.dumps([other, own]))
    assert (turns(found), words(found)) == ([("Ann", 1, 2)], [("Ann", "hello")])
    assert codes(drops) == [("other_recording", "trim"), ("no_word", "trim")]


def test_files_are_found_beside_the_media(tmp_path: Path) -> None:
    names = ["x.srt", "x.vtt", "x.TextGrid", "x.eaf", "x.uem", "x.mp4.EAF"]
    for name in names:
        (tmp_path / name).write_text("")
    assert sorted(path.name for path in find_sidecars(tmp_path / "x.mp4")) == sorted(names)
