"""The page of an evaluation: one HTML file with its pictures inside."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from math import isnan
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment

from qwenvl_ros.drawing import Line, Mark, draw
from qwenvl_ros.evaluation.examination import Answered, Examined, Result, picture
from qwenvl_ros.evaluation.identity import AGREE
from qwenvl_ros.evaluation.motion import RATE, SECONDS, Moved
from qwenvl_ros.evaluation.photos import ABSENT_TEXTS, Photo
from qwenvl_ros.evaluation.reasoning_page import section
from qwenvl_ros.evaluation.reasoning_scores import Reasoning
from qwenvl_ros.evaluation.scoring import IOU_THRESHOLD, Scores
from qwenvl_ros.evaluation.sights import SIZE
from qwenvl_ros.evaluation.worth import MIN_VISIBLE_FRACTION, MIN_VISIBLE_PIXELS
from qwenvl_ros.images import read
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.types import Image

RIGHT, FALSE, MISSED, IGNORED, TRUE = (
    (60, 220, 90),
    (255, 60, 60),
    (255, 170, 30),
    (170, 170, 170),
    (255, 255, 255),
)
WORST, BEST = 12, 4
WIDTH = 480  # pixels of a picture at most

_RULES = f"""
Each scene is one simulated picture of {SIZE[0]}x{SIZE[1]} pixels with exact truth, asked five questions: two whose
texts (one to three) all have an object, one that mixes texts with and without, one whose texts have none, and one
for every object. Of the absent texts 80 % share only a colour or only a shape with an object that is there; a fifth
of the present ones name the shape alone, which any colour answers.
An answer is right when its box overlaps an expected object of the same label with an intersection over union of at
least {IOU_THRESHOLD}; answers and objects are paired one to one for the largest total overlap. Objects of which less
than {100 * MIN_VISIBLE_FRACTION:.0f} % or fewer than {MIN_VISIBLE_PIXELS} pixels are visible are ignored: they are
never missed, and an answer of the right label with at least half of its area in such an object's box counts as
nothing, as with COCO's crowds. Boxes are those of the visible pixels. The label of an answer is the text asked for
that the product takes it to answer, else what the model called it. An answer that could not be read counts as no
objects, and is listed under its status.
Label accuracy: share of the answers on an expected object that bear its label. Absent rate: share of the questions
whose objects are all absent that found one all the same. Calibration error: expected calibration error of the
scores in ten bins.
"""

_PHOTO_RULES = f"""
An answer is right when its box overlaps an expected object of the same label with an intersection over union of at
least {IOU_THRESHOLD}; answers and objects are paired one to one for the largest total overlap. COCO: each photo is
asked for all categories that it shows, and for up to {ABSENT_TEXTS} that it does not; crowds are ignored, and an
answer of their label with at least half of its area in one counts as nothing. RefCOCO: each expression is asked alone
and means one box, whatever the answer is called; accuracy is the share of expressions whose best answer, by score
(the leftmost where the engine gives none), is right. An answer that could not be
read counts as no objects, and is listed under its status.
"""

_MOVED_RULES = f"""
In clips of {SECONDS:g} s at {RATE:g} images a second things, the camera or both move. The model takes so long for an
image, then takes the newest one. At each image what is known is compared with the truth of that image: without tracking
the boxes of the last answer. IDF1: true and told identities are paired one to one over a clip, for the most boxes that
agree (IoU of at least {AGREE}); twice their number over that of all boxes. Mean IoU: of each true box, 0 where none is
told.
"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1100px; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; } th, td { padding: .25em .9em; border-bottom: 1px solid #ddd; }
td + td, th + th { text-align: right; } th { text-align: left; }
.scene { display: flex; flex-wrap: wrap; gap: .6em; } figure { margin: 0; width: 340px; }
img { width: 100%; display: block; }
figcaption { font-size: 13px; } .right { color: #178a36; } .false { color: #c62020; } .missed { color: #b36a00; }
.key span { padding: 0 .5em; margin-right: .5em; color: #000; } details { margin: 1em 0; }
</style></head><body>
<h1>{{ title }}</h1>
<table>{% for name, value in ran.items() %}<tr><th>{{ name }}</th><td>{{ value }}</td></tr>{% endfor %}</table>
{% if statuses %}<h2>What was found</h2>
<table><tr><th></th>{% for column in columns %}<th>{{ column }}</th>{% endfor %}</tr>
{% for name, values in rows.items() %}<tr><th>{{ name }}</th>{% for v in values %}<td>{{ v }}</td>{% endfor %}</tr>
{% endfor %}</table>
<p>Answers by status:
{% for name, count in statuses.items() %}{{ name }} {{ count }}{{ ", " if not loop.last }}{% endfor %}</p>
{% if bins %}<h2>What scores are worth</h2>
<p>Each bar is the share of right answers among those of about one score, which the thin line marks; the two should
meet. Expected calibration error {{ error }}.</p>
<svg viewBox="-6 -4 112 116" width="420" role="img" aria-label="reliability diagram" font-size="4">
<rect width="100" height="100" fill="#f4f4f4"/><line y1="100" x2="100" stroke="#999" stroke-width=".5"/>
{% for bin in bins %}<rect x="{{ 100 * bin.score - 3 }}" y="{{ 100 - 100 * bin.right }}" width="6"
 height="{{ 100 * bin.right }}" fill="#3c78d8"/>
<line x1="{{ 100 * bin.score - 4 }}" x2="{{ 100 * bin.score + 4 }}" y1="{{ 100 - 100 * bin.score }}"
 y2="{{ 100 - 100 * bin.score }}" stroke="#222"/>
<text x="{{ 100 * bin.score }}" y="105" text-anchor="middle">{{ bin.count }}</text>
{% endfor %}<text x="50" y="111" text-anchor="middle">score, 0 to 1; below each bar how many answers</text></svg>
{% endif %}<h3>Rules of these</h3><p>{{ rules }}</p>
<details><summary>Per label ({{ labels | length }})</summary>
<table><tr><th>label</th><th>precision</th><th>recall</th><th>f1</th><th>support</th></tr>
{% for name, values in labels.items() %}<tr><th>{{ name }}</th>{% for v in values %}<td>{{ v }}</td>{% endfor %}</tr>
{% endfor %}</table></details>{% endif %}
{{ reasoning | safe }}
{% if moved %}<h2>What is so by the time it is told</h2>
<table><tr><th>answer after</th><th>IDF1</th><th>with tracking</th><th>mean IoU</th><th>with tracking</th></tr>
{% for name, values in moved.items() %}<tr><th>{{ name }} s</th>{% for v in values %}<td>{{ v }}</td>{% endfor %}</tr>
{% endfor %}</table><h3>Rules of these</h3><p>{{ moved_rules }}</p>{% endif %}
{% if galleries %}<p class="key">In the pictures:
{% for name, colour in key.items() %} <span style="background: rgb{{ colour }}">{{ name }}</span>
{% endfor %}</p>{% endif %}
{% for heading, scenes in galleries.items() %}<h2>{{ heading }}</h2>
{% for scene in scenes %}<h3>{{ scene.title }}</h3><div class="scene">
{% for shot in scene.shots %}<figure><img alt="{{ shot.asked }}" src="data:image/jpeg;base64,{{ shot.jpeg }}">
<figcaption><b>{{ shot.asked }}</b><br><span class="right">{{ shot.right }} right</span>,
<span class="false">{{ shot.false }} false</span>, <span class="missed">{{ shot.missed }} missed</span>
{% if shot.status %}<br><span class="false">{{ shot.status }}</span>{% endif %}</figcaption></figure>
{% endfor %}</div>{% endfor %}{% endfor %}
</body></html>
"""


def page(
    examined: Sequence[Examined],
    result: Result,
    reasoned: Reasoning,
    moved: Moved,
    ran: Mapping[str, object],
) -> str:
    """The page as HTML. ran: what was run, as name and value."""
    with Renderer(*SIZE) as renderer:
        return _page(
            [one.answers for one in examined if one.answers],
            lambda seed: (f"Scene {seed}", picture(seed, renderer)[0]),
            result,
            ran,
            _RULES,
            reasoning=section([one.findings for one in examined], reasoned),
            moved={latency: moved_row(each) for latency, each in moved.items()},
        )


def photo_page(
    photos: Sequence[Photo],
    answers: Sequence[Sequence[Answered]],
    result: Result,
    ran: Mapping[str, object],
) -> str:
    """The page as HTML of photos whose questions have these answers."""

    def look(place: int) -> tuple[str, Image]:
        return photos[place].path.name, read(photos[place].path)

    return _page(answers, look, result, ran, _PHOTO_RULES)


def _page(
    scenes: Sequence[Sequence[Answered]],
    look: Callable[[int], tuple[str, Image]],
    result: Result,
    ran: Mapping[str, object],
    rules: str,
    reasoning: str = "",
    moved: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """look: title and picture of the scene of a question's seed."""
    order = sorted(range(len(scenes)), key=lambda i: _badness(scenes[i]), reverse=True)
    worst, best = order[:WORST], order[max(WORST, len(order) - BEST) :][::-1]
    galleries = {
        "Worst scenes": [_scene(scenes[i], look) for i in worst],
        "Best scenes": [_scene(scenes[i], look) for i in best],
    }
    groups = {
        "queries": result.queries,
        **{f"of these: {k}": s for k, s in result.kinds.items()},
        "every object": result.every,
    }
    columns = (
        "cases",
        "precision",
        "recall",
        "f1",
        "mean_iou",
        "label_accuracy",
        "absent_rate",
        "calibration_error",
    )
    template = Environment(autoescape=True).from_string(_PAGE)
    return template.render(
        title=f"Evaluation of {ran.get('model', 'a model')}",
        ran=ran,
        columns=[column.replace("_", " ") for column in columns],
        rows={
            n: [figure(getattr(scores, c)) for c in columns] for n, scores in groups.items() if scores.cases
        },
        statuses=result.statuses,
        bins=result.queries.reliability,
        error=figure(result.queries.calibration_error),
        rules=rules,
        labels=_labels(result.queries),
        key={
            "right": RIGHT,
            "false": FALSE,
            "missed": MISSED,
            "true box of a right one": TRUE,
            "ignored": IGNORED,
        },
        moved=moved or {},
        moved_rules=_MOVED_RULES,
        reasoning=reasoning,
        galleries={name: gallery for name, gallery in galleries.items() if gallery},
    )


def figure(value: float) -> str:
    """A number for people: counts as they are, shares with four digits, a dash where nothing was measured."""
    if isinstance(value, int):
        return str(value)
    return "-" if isnan(value) else f"{value:.4f}"


def moved_row(both: Mapping[str, Mapping[str, float]]) -> list[str]:
    """IDF1 without and with tracking, and the mean IoU without and with it, for people."""
    return [figure(both[how][name]) for name in ("idf1", "mean_iou") for how in ("off", "on")]


def _labels(scores: Scores) -> dict[str, list[str]]:
    worst_first = sorted(scores.per_label.items(), key=lambda item: (item[1].f1, item[0]))
    return {
        label: [figure(s.precision), figure(s.recall), figure(s.f1), str(s.support)]
        for label, s in worst_first
    }


def _badness(answers: Sequence[Answered]) -> tuple[int, float]:
    """Errors first, then how badly the boxes fit."""
    ious = [match.iou for answer in answers for match in answer.verdict.matches]
    return sum(a.verdict.errors for a in answers), -float(np.mean(ious)) if ious else -1.0


def _scene(answers: Sequence[Answered], look: Callable[[int], tuple[str, Image]]) -> dict[str, Any]:
    title, image = look(answers[0].question.seed)
    return {"title": title, "shots": [_shot(image, answer) for answer in answers]}


def _shot(image: Image, answered: Answered) -> dict[str, Any]:
    verdict, texts = answered.verdict, answered.question.query.texts
    case = verdict.case
    right = {match.answer: match for match in verdict.matches}
    marks = [Mark(target.box, "", IGNORED, Line.DOTTED) for target in case.ignored]
    marks += [Mark(case.expected[m.target].box, "", TRUE, Line.THIN) for m in verdict.matches]
    marks += [Mark(case.expected[i].box, case.expected[i].label, MISSED, Line.DASHED) for i in verdict.misses]
    for index, answer in enumerate(case.answers):
        colour = RIGHT if index in right else FALSE if index in verdict.false_answers else IGNORED
        score = "" if isnan(answer.score) else f" {answer.score:.2f}"
        marks.append(Mark(answer.box, answer.label + score, colour, Line.BOLD))
    scale = min(1.0, WIDTH / image.shape[1])
    small = cv2.resize(draw(image, marks)[:, :, ::-1], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])
    ok = answered.status.name == "OK"
    return {
        "asked": ", ".join(texts) or "every object",
        "jpeg": base64.b64encode(jpeg.tobytes()).decode(),
        "right": len(verdict.matches),
        "false": len(verdict.false_answers),
        "missed": len(verdict.misses),
        "status": "" if ok else f"{answered.status.name}: {answered.status_message}",
    }
