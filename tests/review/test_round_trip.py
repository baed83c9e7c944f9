"""Random reviews -> build -> every clip holds what the rule says, by a second, slower reading of it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from corpus.review.store import opened
from corpus.schemas.conversation import CUE_KINDS, Cue, Turn
from corpus.schemas.ids import with_ids
from corpus.schemas.review import Judged, Review
from corpus.shards.read import open_clips

Built = Callable[..., Any]
Said = tuple[str, str, str | None, int, int, str]


def cues_in(out: Path) -> dict[str, dict[str, Cue]]:
    """The cues of every recording, from its clips, by id."""
    found: dict[str, dict[str, Cue]] = {}
    for clip in open_clips(out):
        found.setdefault(clip.json.recording, {}).update({cue.id: cue for cue in clip.json.cues})
    return found


def turns_in(out: Path) -> dict[str, list[Turn]]:
    found: dict[str, dict[str, Turn]] = {}
    for clip in open_clips(out):
        found.setdefault(clip.json.recording, {}).update({turn.id: turn for turn in clip.json.turns})
    return {recording: list(turns.values()) for recording, turns in found.items()}


def random_reviews(out: Path, count: int, seed: int) -> list[Review]:
    """Accepts, rejects, changes, additions, abstentions and undos by three people, at random."""
    rng = random.Random(seed)
    turns = turns_in(out)
    items = [(recording, cue) for recording, cues in cues_in(out).items() for cue in cues.values()]
    reviews: list[Review] = []

    def moved(cue: Cue) -> Cue:
        by_us, more_us = rng.randrange(-300_000, 300_000, 10_000), rng.randrange(0, 200_000, 10_000)
        start_us = min(max(0, cue.start_us + by_us), 30_000_000)
        label = rng.choice(list(CUE_KINDS)) if rng.random() < 0.3 else cue.label
        kind = cue.kind if label == cue.label else rng.choice(CUE_KINDS[label])
        stop_us = max(start_us + 10_000, min(cue.stop_us + by_us + more_us, 36_000_000))
        return replace(cue, label=label, kind=kind, start_us=start_us, stop_us=stop_us, id="")

    while len(reviews) < count:
        recording, cue = rng.choice(items)
        number, who = len(reviews) + 1, rng.choice(("ann", "bob", "eve"))
        near = tuple(
            replace(t, id="")
            for t in turns[recording]
            if t.start_us < cue.stop_us + 10**7 and t.stop_us > cue.start_us - 10**7
        )
        given = {
            "id": f"r{number}", "recording": recording, "item": cue.id, "annotator": who, "around": near,
            "decided_at_us": number, "role": "adjudication" if rng.random() < 0.03 else "annotation",
        }  # fmt: skip
        dice = rng.random()
        if dice < 0.03 and reviews:
            victim = rng.choice([r for r in reviews if r.verdict != "undo"])
            given |= {
                "undoes": victim.id,
                "annotator": rng.choice((victim.annotator, "mallory")),
                "around": (),
            }
            reviews.append(Review(**given, verdict="undo", judged=None))
        elif dice < 0.25:
            given["item"] = f"a{number}"
            reviews.append(Review(**given, verdict="add", judged=None, becomes=(Judged(cue=moved(cue)),)))
        elif dice < 0.5:
            becomes = (Judged(cue=moved(cue)),)
            reviews.append(Review(**given, verdict="correct", judged=Judged(cue=cue), becomes=becomes))
        else:
            verdict = "accept" if dice < 0.75 else "reject" if dice < 0.95 else "unsure"
            reviews.append(Review(**given, verdict=verdict, judged=Judged(cue=cue)))
    return reviews


# -- the rule once more, over plain tuples, every pair compared -------------------------------


def part(cue: Cue) -> Said:
    return (cue.label, cue.kind, cue.speaker, cue.start_us, cue.stop_us, cue.origin)


def half(one: Said, other: Said) -> bool:
    if (one[0], one[2]) != (other[0], other[2]):
        return False
    both = min(one[4], other[4]) - max(one[3], other[3])
    return 2 * max(both, 0) >= max(one[4], other[4]) - min(one[3], other[3])


def share(one: Said, other: Said) -> float:
    both = min(one[4], other[4]) - max(one[3], other[3])
    whole = max(one[4], other[4]) - min(one[3], other[3])
    return max(both, 0) / whole if whole else 1.0


def by_the_rule(machine: list[Cue], reviews: list[Review]) -> Counter[Any]:
    there = {part(cue)[:5] for cue in machine}
    undone = {u.undoes for u in reviews for r in reviews if u.undoes == r.id and u.annotator == r.annotator}
    items: list[dict[str, Any]] = []
    for review in reviews:
        if review.verdict == "undo" or review.id in undone:
            continue
        judged = part(review.judged.cue) if review.judged and review.judged.cue else None
        becomes = [part(p.cue) for p in review.becomes if p.cue]
        subject = judged or becomes[0]
        stands = judged is not None and judged[:5] in there
        home = next((i for i in items if review.item in i["names"]), None)
        if home is None:
            near = [
                (share(subject, known), when, i)
                for i in items
                if not (stands and i["stands"])
                for when, known in i["known"]
                if half(subject, known)
            ]
            home = max(near, key=lambda n: (n[0], n[1]))[2] if near else None
        if home is None:
            home = {"names": set(), "known": [], "judged": [], "last": {}, "stands": False}
            items.append(home)
        home["names"].add(review.item)
        home["stands"] = home["stands"] or stands
        order = sum(len(i["known"]) for i in items)
        home["known"] += [(order + n, p) for n, p in enumerate([judged] * bool(judged) + becomes)]
        home["judged"] += [judged] * bool(judged)
        home["last"].pop((review.role, review.annotator), None)
        vote = {"accept": [judged], "unsure": None}.get(review.verdict, becomes)
        home["last"][review.role, review.annotator] = vote
    result, gone = Counter[Any](), set[int]()
    for item in items:
        rulings = [
            (who, v) for (role, who), v in item["last"].items() if role == "adjudication" and v is not None
        ]
        votes = [
            (who, v) for (role, who), v in item["last"].items() if role == "annotation" and v is not None
        ]
        if rulings:
            winners, total = [rulings[-1]], 1
        else:
            kinds = Counter(tuple(p[:3] for p in v) for _, v in votes)
            best = kinds.most_common(2)
            if not best or (len(best) == 2 and best[0][1] == best[1][1]):
                continue
            winners, total = [w for w in votes if tuple(p[:3] for p in w[1]) == best[0][0]], len(votes)
        made = []
        if winners[-1][1]:
            starts, stops = ([w[1][0][n] for w in winners] for n in (3, 4))
            middle = [
                sorted(v)[len(v) // 2] if len(v) % 2 else sum(sorted(v)[len(v) // 2 - 1 :][:2]) // 2
                for v in (starts, stops)
            ]
            made = [(*winners[-1][1][0][:3], *middle)]
            who = ",".join(sorted(w[0] for w in winners))
            result[(*made[0], f"human:{who}", round(len(winners) / total, 9))] += 1
        for n, cue in enumerate(machine):
            if any(half(part(cue), (*p[:5], "")) for p in (*item["judged"], *made)):
                gone.add(n)
    result.update((*part(c), round(c.confidence, 9)) for n, c in enumerate(machine) if n not in gone)
    return result


def in_clips(out: Path) -> dict[str, Counter[Any]]:
    return {
        recording: Counter((*part(c), round(c.confidence, 9)) for c in cues.values())
        for recording, cues in cues_in(out).items()
    }


@pytest.mark.parametrize("count", [120, pytest.param(1000, marks=pytest.mark.slow)])
def test_every_clip_holds_what_the_rule_says(
    count: int, talks: Path, dataset: Path, build_talks: Built
) -> None:
    machine = {recording: list(cues.values()) for recording, cues in cues_in(dataset).items()}
    reviews = random_reviews(dataset, count, seed=count)
    with opened(dataset) as store:
        reviews = store.add(reviews)
    done = build_talks(talks, dataset)
    assert not done.unchanged and done.shards_written > 0
    expected = {
        recording: by_the_rule(cues, [r for r in reviews if r.recording == recording])
        for recording, cues in machine.items()
    }
    assert in_clips(dataset) == expected
    assert build_talks(talks, dataset).unchanged
    people = {r: {c for c in cues if c[5].startswith("human:")} for r, cues in expected.items()}
    assert sum(map(len, people.values())) >= 40
    build_talks(talks, dataset, shift_silence_us=400_000, overlap_shortest_us=300_000)
    for recording, cues in in_clips(dataset).items():
        assert people[recording] <= set(cues)


def test_only_shards_with_a_changed_clip_are_written(
    talks: Path, dataset: Path, build_talks: Built, media: ModuleType
) -> None:
    recording, cues = sorted(cues_in(dataset).items())[0]
    cue = next(iter(cues.values()))
    with opened(dataset) as store:
        rejected = Review(
            id="1", recording=recording, item=cue.id, verdict="reject", judged=Judged(cue=cue),
            annotator="ann", decided_at_us=1,
        )  # fmt: skip
        store.add([rejected])
    before = {p: p.stat().st_mtime_ns for p in dataset.glob("*/*.tar")}
    done = build_talks(talks, dataset)
    touched = [p for p, when in before.items() if p.stat().st_mtime_ns != when]
    assert len(touched) == done.shards_written and 0 < done.shards_written < done.shards == len(before)


def test_corrected_words_turns_and_speakers_are_in_the_clips(
    talks: Path, dataset: Path, build_talks: Built
) -> None:
    clip = open_clips(dataset)[0].json
    word = next(w for w in clip.words if w.start_us is not None)
    turns = tuple(replace(t, id="") for t in clip.turns)
    old = clip.speakers[-1]
    given = {"recording": clip.recording, "annotator": "ann", "decided_at_us": 1, "verdict": "correct"}
    with opened(dataset) as store:
        store.add(
            [
                Review(
                    **given, id="1", item=word.id, judged=Judged(word=word), around=turns,
                    becomes=(Judged(word=replace(word, text="elephant", id="")),),
                ),
                Review(
                    **given, id="2", item=old, judged=Judged(speaker=old), around=turns,
                    becomes=(Judged(speaker="Zoe"),),
                ),
            ]
        )  # fmt: skip
    build_talks(talks, dataset)
    after = open_clips(dataset)[clip.key].json
    assert [w.text for w in after.words if w.start_us == word.start_us] == ["elephant"]
    assert "Zoe" in after.speakers and old not in after.speakers
    assert {t.speaker for t in after.turns} == {"Zoe" if t.speaker == old else t.speaker for t in clip.turns}


def test_decisions_are_taken_into_a_new_folder(
    talks: Path, dataset: Path, build_talks: Built, tmp_path: Path
) -> None:
    from corpus.review.exchange import export_reviews, import_reviews

    reviews = random_reviews(dataset, 60, seed=5)
    with opened(dataset) as store:
        store.add(reviews)
    build_talks(talks, dataset)
    for ending in ("parquet", "jsonl"):
        file = tmp_path / f"reviews.{ending}"
        assert export_reviews(dataset, file).reviews == 60
        fresh = tmp_path / f"fresh-{ending}"
        assert import_reviews(fresh, file).new == 60 and import_reviews(fresh, file).new == 0
    build_talks(talks, fresh)
    assert in_clips(fresh) == in_clips(dataset)


def test_ids_of_cues_do_not_hang_on_who_says_them(dataset: Path) -> None:
    """So a cue that people accepted is the same item in the queue as before."""
    from corpus.schemas.conversation import Conversation

    cue = next(iter(cues_in(dataset).values()))
    one = next(iter(cue.values()))
    speakers = (str(one.speaker), *([one.partner] if one.partner else []))
    talk = Conversation(recording="r", duration_us=10**9, speakers=speakers, cues=(one,))
    human = replace(talk, cues=(replace(one, origin="human:ann", confidence=1.0, id=""),))
    assert with_ids(human).cues[0].id == one.id
