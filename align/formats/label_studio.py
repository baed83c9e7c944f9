"""Label Studio's JSON: regions with a label, which is the speaker, and texts that share their ids.

If there are several tasks, the one that names the sidecar's recording counts; if there are several
annotations, the ground truth, otherwise the last one that was not cancelled.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from corpus.align.formats.gather import Gathered, json_text, json_us
from corpus.align.parsing import LineError
from corpus.align.values import speaker_name
from corpus.schemas.errors import SidecarError

NOBODY = frozenset(("speech", "noise", "music", "silence"))
"""Labels in Label Studio's own templates that are not speakers."""


def take_label_studio(plain: list[Any] | dict[str, Any], read: Gathered) -> None:
    """The regions of the recording's task as turns and words."""
    tasks = plain if isinstance(plain, list) else [plain]
    task = _of_recording([each for each in tasks if isinstance(each, dict)], read)
    regions: dict[str, dict[str, Any]] = {}
    for number, raw in enumerate(_results(task, read)):
        place = f"{read.file}:result[{number}]"
        with read.item(place):
            if not isinstance(raw, dict) or not isinstance(raw.get("value"), dict):
                raise LineError("malformed", "is not a region")
            value = raw["value"]
            if "start" not in value and "end" not in value:
                read.tell(
                    place, "no_region", f"a {str(raw.get('type'))[:40]} of the whole recording is not read"
                )
                continue
            key = str(raw.get("id", number))[:200]
            region = regions.setdefault(key, {"place": place, "labels": [], "text": []})
            region["start"], region["end"] = value.get("start"), value.get("end")
            region["labels"] += value.get("labels") if isinstance(value.get("labels"), list) else []
            text = value.get("text", [])
            region["text"] += text if isinstance(text, list) else [text]
    for region in regions.values():
        with read.item(region["place"]):
            _take(region, read)


def _take(region: dict[str, Any], read: Gathered) -> None:
    place: str = region["place"]
    start_us, stop_us = json_us(region["start"], "the start"), json_us(region["end"], "the end")
    names = [json_text(label) for label in region["labels"]]
    text = " ".join(json_text(part) for part in region["text"])
    people = [speaker_name(name) for name in names if name.lower() not in NOBODY]
    if not people and names and "speech" not in {name.lower() for name in names}:
        read.tell(place, "no_word", f"a stretch of {', '.join(names)[:80]}")
        return
    if len(people) > 1:
        read.tell(place, "several_speakers", f"labelled {', '.join(people)[:80]}: the words go to the first")
    read.utterance(place, people[0] if people else "", start_us, stop_us, text)
    for name in people[1:]:
        read.turn(name, read.inside(place, start_us, stop_us))


def _of_recording(tasks: list[dict[str, Any]], read: Gathered) -> dict[str, Any]:
    stem = read.file.removesuffix(".gz").removesuffix(".json")
    own = [task for task in tasks if stem in _names(task)]
    kept = own or tasks
    if not kept or (len(kept) > 1 and not own):
        raise SidecarError(
            f"holds {len(tasks)} tasks and none names {stem!r}",
            where=read.file,
            todo="keep one task per file",
        )
    if len(tasks) > 1:
        read.tell(
            read.file, "other_recording", f"{len(tasks) - 1} tasks are of other recordings, or further ones"
        )
    return kept[0]


def _names(task: dict[str, Any]) -> set[str]:
    """Base names of the files a task names, as uploaded: `1a2b3c4d-talk.wav` is `talk.wav` too."""
    data = task.get("data")
    values = [*(data.values() if isinstance(data, dict) else task.values()), task.get("file_upload")]
    files = [PurePosixPath(value.partition("?")[0]).name for value in values if isinstance(value, str)]
    bare = [name.partition("-")[2] for name in files if len(name.partition("-")[0]) == 8]
    return {part for name in (*files, *bare) for part in (name, name.rpartition(".")[0])}


def _results(task: dict[str, Any], read: Gathered) -> list[Any]:
    """The regions of the annotation that counts; of JSON_MIN, what it holds as lists."""
    annotations = task.get("annotations", task.get("completions"))
    if not isinstance(annotations, list):
        return _of_minimal(task)
    done = [each for each in annotations if isinstance(each, dict) and not each.get("was_cancelled")]
    best = [each for each in done if each.get("ground_truth")] or done
    if not best:
        guesses = task.get("predictions")
        best = [each for each in guesses if isinstance(each, dict)] if isinstance(guesses, list) else []
        if best:
            read.tell(read.file, "predictions_used", "nobody has annotated the task; a prediction is read")
    if len(done) > 1:
        read.tell(
            read.file, "other_annotation", f"{len(done) - 1} further annotations of the task are not read"
        )
    result = best[-1].get("result") if best else []
    if not isinstance(result, list):
        raise SidecarError("result must be a list of regions", where=read.file)
    return result


def _of_minimal(task: dict[str, Any]) -> list[Any]:
    """Label Studio's JSON_MIN: a list of regions and beside it their texts in the same order."""
    lists = [value for value in task.values() if isinstance(value, list) and value]
    regions = next((each for each in lists if isinstance(each[0], dict) and "start" in each[0]), [])
    texts = task.get("transcription", [])
    texts = texts if isinstance(texts, list) else [texts]
    both = len(texts) == len(regions)
    results = []
    for number, region in enumerate(regions):
        value = {**region, "text": texts[number]} if both and isinstance(region, dict) else region
        results.append({"id": str(number), "value": value})
    return results
