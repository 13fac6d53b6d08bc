"""The demo's conversation: questions and an edit about the frame shown last, and how the model imagines the edited
scene, through the node's services.

What a model was not trained for it says itself, and the demo prints that. Answers are drawn from above: the objects
that an answer rests on, and the scene before and after the edit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from kyvo_msgs.msg import Answer, SceneGraph
from kyvo_msgs.srv import Ask, Edit, Render

from kyvo_ros.drawing import MISSED_RGB, RIGHT_RGB, Mark, contact_sheet, draw_plan, enlarged
from kyvo_ros.ros.conversions import image_from_msg
from kyvo_ros.ros.conversions.scenes import scene_from_graph_msg
from kyvo_ros.scene import Scene

QUESTIONS = ("How many metal things are there?", "What color is the large metal cylinder?",
             "How far is the red cube from the yellow ball?")
INSTRUCTION = "remove the large yellow rubber sphere"
_ENLARGED = 3

#: Calls a service of the node: type, name, request -> response.
Call = Callable[[type, str, Any], Any]


def converse(call: Call, latest: SceneGraph, output: Path) -> None:
    """Ask, edit, have drawn, print, and write `conversation.png` and `imagined.png`."""
    scene = scene_from_graph_msg(latest)
    drawings, captions = [], []
    print()
    for question in QUESTIONS:
        response = call(Ask, "ask", Ask.Request(question=question))
        if not response.success:
            print(f"{question}\n  no answer: {response.message}")
            return
        print(f"{question}\n  {_said(response.answer)}")
        drawings.append(draw_plan(scene, _highlighted(scene, response.answer.object_ids)))
        captions.append(question)
    response = call(Edit, "edit", Edit.Request(instruction=INSTRUCTION))
    if response.success:
        edited = scene_from_graph_msg(response.scene)
        before, after = ({item.id for item in part.objects} for part in (scene, edited))
        gone = sorted(before - after)
        print(f"{INSTRUCTION}\n  {len(scene)} objects before, {len(edited)} after; gone: {', '.join(gone) or 'none'}")
        drawings.append(draw_plan(edited, _highlighted(edited, after - before)))
        captions.append(f"after: {INSTRUCTION}")
    else:
        print(f"{INSTRUCTION}\n  not done: {response.message}")
    cv2.imwrite(str(output / "conversation.png"), contact_sheet(drawings, captions, columns=2)[..., ::-1])
    _have_drawn(call, response.scene if response.success else latest, output)


def _have_drawn(call: Call, scene: SceneGraph, output: Path) -> None:
    """Let the model draw a scene, in pixels that can be looked at."""
    print("the scene as the model imagines it")
    response = call(Render, "render", Render.Request(scene=scene))
    if not response.success:
        print(f"  not drawn: {response.message}")
        return
    picture = image_from_msg(response.image)
    cv2.imwrite(str(output / "imagined.png"), enlarged(picture, _ENLARGED)[..., ::-1])
    print(f"  {picture.shape[1]}x{picture.shape[0]} pixels from {len(scene.objects)} objects")


def _said(answer: Answer) -> str:
    if answer.refused:
        return f"refused ({answer.refusal}): {answer.text}"
    rests = f", rests on {', '.join(answer.object_ids)}" if answer.object_ids else ""
    return f"{answer.text}   (confidence {answer.confidence:.2f}{rests}; {answer.program or 'said directly'})"


def _highlighted(scene: Scene, ids: Collection[str]) -> list[Mark]:
    return [Mark(RIGHT_RGB if item.id in ids else MISSED_RGB, item.id, thin=item.id not in ids)
            for item in scene.objects]
