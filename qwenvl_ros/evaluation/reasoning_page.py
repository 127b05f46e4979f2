"""The part of an evaluation's page that tells how scenes were understood."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from math import isnan
from typing import Any

import cv2
from jinja2 import Environment

from qwenvl_ros.drawing import Mark, colours_of, draw
from qwenvl_ros.evaluation.reasoning import AWAY_METRES, AWAY_PIXELS, HIDDEN_FROM, Fault, Figure, Findings
from qwenvl_ros.evaluation.reasoning_scores import CENTRE_LIMIT, CENTRE_SHARE, Reasoning, RelationScores
from qwenvl_ros.evaluation.sights import SIZE
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.scenes import sample
from qwenvl_ros.types import Truth

WORST = 12
HEADINGS = {
    Figure.AWAY: "with depth, away from thresholds",
    Figure.FOUND: "the same, only of objects that were found",
    Figure.ALL: "with depth, every pair",
    Figure.FLAT: "2D only, away from thresholds",
}

_RULES = f"""
Relations are those of design section 3 between the objects found for "every object" (or the true boxes, where the
page is about them), with the scene's depth, camera and pose. Objects are paired with true ones by label and box, as
answers are. Right or wrong is what is stated TRUE; of an object that is not there it is wrong. A true relation that is
not stated TRUE is missed, whether it is held FALSE, is UNKNOWN, or one of its objects was not found: UNKNOWN is never
wrong, and lowers recall all the same. "unknown" is the share of all pairs, true or not, that are UNKNOWN. Pairs with an
ignored object count as nothing. "Of objects that were found" leaves out what is missed or wrong because an object was.
The truth is of whole things in the simulator's world: left_of and above from exact extents, in_front_of from their
centres, near and touching from the distance between surfaces, on and inside from how the scene was built, occludes from
counted pixels, clear where nothing stands on it. 2D only, left_of and above are those of whole silhouettes in the
picture.
Away from thresholds: at a threshold an error smaller than anything can be measured to turns the truth over. There a
pair counts only where its true extents would have to be off by {100 * AWAY_METRES:g} cm or more to turn it over
(occludes and 2D: {AWAY_PIXELS:g} pixels; of a share of area, times the square root of the area). That is two standard
deviations of a gap between edges that are known to 5 mm, and of an edge known to 2 pixels, which is what the product
takes for granted at the least. Where rule and construction disagree (on, inside) a pair is at its threshold. What is
said of a thing by a wrong name counts, as wrong, where the pair counts. "Every pair" leaves nothing out.
Visible fraction: mean difference from the true share of an object's pixels in the picture that are visible. Occluder:
of the objects less than {100 * HIDDEN_FROM:.0f} % visible whose true occluder is not ignored, the share whose occluder
was found. Centre: mean distance between position and centre of the true visible surface; good is within
{100 * CENTRE_LIMIT:g} cm + {100 * CENTRE_SHARE:g} % of the distance from the camera.
"""

_SECTION = """<h2>What was understood</h2>
{% for heading, rows in tables.items() %}<h3>Relations {{ heading }}</h3>
<table><tr><th></th><th>precision</th><th>recall</th><th>support</th><th>unknown</th></tr>
{% for name, values in rows.items() %}<tr><th>{{ name }}</th>{% for v in values %}<td>{{ v }}</td>{% endfor %}</tr>
{% endfor %}</table>{% endfor %}
<h3>Objects</h3>
<table>{% for name, value in objects.items() %}<tr><th>{{ name }}</th><td>{{ value }}</td></tr>{% endfor %}</table>
<h3>Rules of these</h3><p>{{ rules }}</p>
{% if scenes %}<h3>Scenes with the most faults, with depth, away from thresholds</h3><div class="scene">
{% for scene in scenes %}<figure><img alt="Scene {{ scene.seed }}" src="data:image/jpeg;base64,{{ scene.jpeg }}">
<figcaption><b>Scene {{ scene.seed }}</b>{% for fault in scene.faults %}<br>{{ fault }}{% endfor %}</figcaption>
</figure>{% endfor %}</div>{% endif %}
"""


def section(scenes: Sequence[Findings], result: Reasoning) -> str:
    """The part as HTML."""
    worst = sorted((s for s in scenes if s.faults), key=lambda s: (-len(s.faults), s.seed))[:WORST]
    with Renderer(*SIZE) as renderer:
        shown = [_scene(one, renderer) for one in worst]
    template = Environment(autoescape=True).from_string(_SECTION)
    return template.render(
        tables={
            heading: {name: row(scores) for name, scores in getattr(result, figure.value).items()}
            for figure, heading in HEADINGS.items()
        },
        objects=objects(result),
        rules=_RULES,
        scenes=shown,
    )


def row(scores: RelationScores) -> list[str]:
    """Precision, recall, support, unknown for people."""
    shares = [scores.precision, scores.recall, scores.unknown]
    precision, recall, unknown = ("-" if isnan(share) else f"{share:.4f}" for share in shares)
    return [precision, recall, str(scores.support), unknown]


def objects(result: Reasoning) -> dict[str, str]:
    """What is told of objects and of all relations together, by name."""

    def told(value: float, text: str) -> str:
        return "-" if isnan(value) else text

    return {
        "macro F1 of relations": told(
            result.relations_macro_f1,
            f"{result.relations_macro_f1:.4f}, of objects that were found {result.relations_found_macro_f1:.4f}",
        ),
        "visible fraction, mean error": told(
            result.visible_fraction_error,
            f"{result.visible_fraction_error:.4f} of {result.fractions} objects, {result.unobserved} unknown",
        ),
        "occluder found": told(
            result.occluder_accuracy, f"{result.occluder_accuracy:.4f} of {result.occluders}"
        ),
        "centre, mean error": told(
            result.centre_error_m,
            f"{1000 * result.centre_error_m:.1f} mm, median {1000 * result.centre_median_m:.1f} mm, "
            f"{100 * result.centre_within:.1f} % of {result.centres} good",
        ),
    }


def _scene(one: Findings, renderer: Renderer) -> dict[str, Any]:
    image, colours = renderer.rgb(sample(one.seed)), colours_of(list(one.boxes))
    marks = [Mark(box, name, colours[name]) for name, box in one.boxes.items()]
    _, jpeg = cv2.imencode(".jpg", draw(image, marks)[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    return {
        "seed": one.seed,
        "jpeg": base64.b64encode(jpeg.tobytes()).decode(),
        "faults": [_sentence(fault) for fault in one.faults],
    }


def _sentence(fault: Fault) -> str:
    what = f"{fault.subject} {fault.predicate} {fault.object}"
    if fault.said is Truth.TRUE:
        return f"{what}: wrongly stated"
    return f"{what}: {'left open' if fault.said is Truth.UNKNOWN else 'missed'}"
