"""The phrasings of the question language as data: what people say for each function.

Each entry lists phrasings seen in training and phrasings held out for testing, about a third where there are three or
more; the flag is where a phrasing stands, so it never changes by chance. Slots: {a} {b} are phrases of the inputs, {v}
a value, {attribute} an attribute's name; see `phrasing` for their forms. All sentences are our own.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Phrases:
    """Ways to say one thing; the first seen one is the plainest."""

    seen: tuple[str, ...]
    held_out: tuple[str, ...] = ()


#: Words of attribute values. None is held out: a word that was never seen cannot be understood.
WORDS: dict[str, tuple[str, ...]] = {
    "large": ("large", "big"), "small": ("small", "tiny", "little"),
    "rubber": ("rubber", "matte"), "metal": ("metal", "metallic", "shiny"),
    "gray": ("gray", "grey"), "red": ("red",), "blue": ("blue",), "green": ("green",), "brown": ("brown",),
    "purple": ("purple",), "cyan": ("cyan",), "yellow": ("yellow",),
    "cube": ("cube", "block"), "sphere": ("sphere", "ball"), "cylinder": ("cylinder",),
    "": ("object", "thing"),  # no shape said
}
ATTRIBUTE_WORDS: dict[str, tuple[str, ...]] = {
    "size": ("size",), "color": ("color", "colour"), "material": ("material",), "shape": ("shape",)}
CAMERA = ("the camera", "you")

#: Relations, said of objects: "... left of the ball".
RELATIONS: dict[str, Phrases] = {
    "left": Phrases(("left of", "to the left of", "on the left side of"), ("on the left of",)),
    "right": Phrases(("right of", "to the right of", "on the right side of"), ("on the right of",)),
    "front": Phrases(("in front of", "on the front side of"), ("nearer to the viewer than",)),
    "behind": Phrases(("behind", "on the back side of"), ("further from the viewer than",)),
}
#: The same for where something goes.
PLACES: dict[str, Phrases] = {
    "left": Phrases(("left of", "to the left of"), ("on the left of",)),
    "right": Phrases(("right of", "to the right of"), ("on the right of",)),
    "front": Phrases(("in front of", "to the front of"), ("before",)),
    "behind": Phrases(("behind", "to the back of"), ("at the back of",)),
}
SIDES: dict[str, Phrases] = {  # directions of a movement
    "left": Phrases(("to the left", "left", "leftwards"), ("toward the left",)),
    "right": Phrases(("to the right", "right", "rightwards"), ("toward the right",)),
    "front": Phrases(("to the front", "forward", "toward the viewer"), ("toward the front",)),
    "behind": Phrases(("to the back", "backward", "away from the viewer"), ("toward the back",)),
}
METRES = ("{v} m", "{v} metres", "{v} meters")

#: Clauses that say which objects are meant; {are} is "is" or "are", {have} "has" or "have", {that} "that" or "which".
CLAUSES: dict[str, Phrases] = {
    "relate": Phrases(("{v} {a}", "{that} {are} {v} {a}"), ("standing {v} {a}",)),
    "same": Phrases(
        ("of the same {attribute} as {a}", "{that} {have} the same {attribute} as {a}",
         "{that} {are} the same {attribute} as {a}", "with the same {attribute} as {a}"),
        ("sharing the {attribute} of {a}", "whose {attribute} is the same as that of {a}")),
    "between": Phrases(("between {a} and {b}", "{that} {are} between {a} and {b}"), ("in between {a} and {b}",)),
    "within": Phrases(
        ("within {v} of {a}", "{that} {are} within {v} of {a}", "no more than {v} from {a}", "closer than {v} to {a}"),
        ("at most {v} away from {a}", "in a radius of {v} around {a}")),
    "union": Phrases(("{that} {are} {a} or {b}", "{that} {are} either {a} or {b}"), ()),
    "intersect": Phrases(("{that} {are} both {a} and {b}", "{that} {are} {a} and {b}"), ()),
}
#: One object of a set: {a} is the point, {n} the noun phrase of the set, {s} its plural.
SUPERLATIVES: dict[str, Phrases] = {
    "nearest": Phrases(("the {n} nearest to {a}", "the {n} closest to {a}"), ("the {n} with the shortest way to {a}",)),
    "farthest": Phrases(("the {n} farthest from {a}", "the {n} furthest from {a}"), ("the {n} most distant from {a}",)),
    "largest": Phrases(("the largest {n}", "the biggest {n}"), ("the {n} of the greatest extent",)),
    "smallest": Phrases(("the smallest {n}", "the tiniest {n}"), ("the {n} of the least extent",)),
}
#: The same where the set's own phrase has clauses, so that the words stay apart.
SUPERLATIVES_AMONG: dict[str, tuple[str, ...]] = {
    "nearest": ("the one nearest to {a} among the {s}", "the one closest to {a} of all {s}"),
    "farthest": ("the one farthest from {a} among the {s}", "the one furthest from {a} of all {s}"),
    "largest": ("the largest of the {s}", "the biggest one among the {s}"),
    "smallest": ("the smallest of the {s}", "the smallest one among the {s}"),
}

#: Whole questions by the root's operation, or its name where attributes differ. {s} {t} are plural phrases of sets,
#: {n} a singular one, {an} a singular one with "a", {a} {b} objects or points, {one} an object brought up with "a".
QUESTIONS: dict[str, Phrases] = {
    "count": Phrases(
        ("how many {s} are there?", "what is the number of {s}?", "how many {s} do you see?", "count the {s}.",
         "what number of {s} are there?", "how many {s}?", "tell me how many {s} there are."),
        ("how many {s} can be seen?", "give me the number of {s}.", "i would like to know how many {s} there are.")),
    "exist": Phrases(
        ("is there {an}?", "are there any {s}?", "do you see {an}?", "is there any {n}?", "are there {s}?",
         "is {an} there?", "do you see any {s}?"),
        ("can {an} be seen?", "does {an} exist?", "could you tell me if there are any {s}?")),
    "query_size": Phrases(
        ("what size is {a}?", "how big is {a}?", "what is the size of {a}?", "is {a} large or small?",
         "{a} is what size?", "there is {one}; what size is it?", "{a}: big or small?"),
        ("tell me the size of {a}.", "how big is {a}, large or small?", "of what size is {a}?",
         "looking at {a}, what size does it have?")),
    "query_color": Phrases(
        ("what color is {a}?", "what is the color of {a}?", "{a} is what color?", "which color does {a} have?",
         "what colour is {a}?", "there is {one}; what is its color?", "the color of {a}?", "{a} has what color?"),
        ("tell me the color of {a}.", "of what color is {a}?", "do you know what color {a} is?",
         "looking at {a}, what color does it have?")),
    "query_material": Phrases(
        ("what is {a} made of?", "what material is {a}?", "what is the material of {a}?", "is {a} metal or rubber?",
         "{a} is made of what?", "there is {one}; what is it made of?", "{a} has what material?",
         "is {a} shiny or matte?"),
        ("tell me the material of {a}.", "of what material is {a}?", "which material is {a} made of?",
         "looking at {a}, what is it made of?")),
    "query_shape": Phrases(
        ("what shape is {a}?", "what is the shape of {a}?", "{a} is what shape?", "which shape does {a} have?",
         "there is {one}; what shape is it?", "what shape does {a} have?", "the shape of {a}?", "{a} has what shape?"),
        ("tell me the shape of {a}.", "of what shape is {a}?", "do you know what shape {a} is?",
         "looking at {a}, what shape does it have?")),
    "equal_integer": Phrases(
        ("are there as many {s} as {t}?", "is the number of {s} the same as the number of {t}?",
         "are there an equal number of {s} and {t}?", "is the number of {s} equal to the number of {t}?"),
        ("do {s} and {t} occur equally often?", "is the count of {s} equal to that of {t}?")),
    "less_than": Phrases(
        ("are there fewer {s} than {t}?", "is the number of {s} less than the number of {t}?",
         "are there less {s} than {t}?", "do you see fewer {s} than {t}?"),
        ("is the number of {s} smaller than that of {t}?", "are the {s} fewer than the {t}?")),
    "greater_than": Phrases(
        ("are there more {s} than {t}?", "is the number of {s} greater than the number of {t}?",
         "do you see more {s} than {t}?", "are there a greater number of {s} than {t}?"),
        ("is the number of {s} larger than that of {t}?", "do the {s} outnumber the {t}?")),
    "equal": Phrases(
        ("is {a} the same {attribute} as {b}?", "do {a} and {b} have the same {attribute}?",
         "does {a} have the same {attribute} as {b}?", "are {a} and {b} the same {attribute}?",
         "is the {attribute} of {a} the same as that of {b}?", "is the {attribute} of {a} equal to the one of {b}?"),
        ("are {a} and {b} of equal {attribute}?", "does the {attribute} of {a} match that of {b}?",
         "do {a} and {b} share the same {attribute}?")),
    "locate": Phrases(
        ("where is {a}?", "what is the position of {a}?", "where can i find {a}?", "where does {a} stand?",
         "give me the position of {a}.", "what are the coordinates of {a}?"),
        ("tell me where {a} is.", "at what position is {a}?", "locate {a}.")),
    "distance": Phrases(
        ("how far is {a} from {b}?", "what is the distance between {a} and {b}?", "how far apart are {a} and {b}?",
         "what is the distance from {a} to {b}?", "how many metres are between {a} and {b}?"),
        ("measure the distance between {a} and {b}.", "how far away from {b} is {a}?",
         "give me the distance of {a} from {b}.")),
    "distance_camera": Phrases(
        ("how far is {a}?", "how far away is {a}?", "what is the distance to {a}?", "how far is it to {a}?",
         "how many metres away is {a}?"),
        ("measure the distance to {a}.", "at what distance is {a}?", "give me the distance to {a}.")),
    "extent": Phrases(
        ("how large is {a} in metres?", "what are the dimensions of {a}?", "how many metres does {a} measure?",
         "what is the extent of {a}?", "how wide and how high is {a}?"),
        ("give me the dimensions of {a}.", "measure the size of {a} in metres.",
         "what is the extent of {a} in meters?")),
    "object": Phrases(
        ("what is {a}?", "which object is {a}?", "which one is {a}?", "describe {a}.", "show me {a}."),
        ("can you show me {a}?", "point at {a}.", "find {a}.")),
    "objects": Phrases(
        ("which {s} are there?", "list the {s}.", "what are the {s}?", "show me the {s}.", "which {s} do you see?"),
        ("list all {s}.", "find all {s}.", "can you show me the {s}?")),
    "unknown": Phrases(
        ("who are you?", "what time is it?", "what is the weather like today?", "tell me a joke.", "how old is {a}?",
         "who put {a} there?", "what does {a} cost?", "why is {a} there?", "is {a} heavy?", "hello", "thanks a lot.",
         "how are you?", "what did you eat?", "who made {a}?", "is {a} happy?", "sing a song.", "what is two plus two?",
         "wie spaet ist es?", "quelle heure est-il?", "how much does {a} weigh?", "what is the name of {a}?", "why?",
         "do you like {a}?", "is {a} broken?", "was {a} there yesterday?", "asdf qwer", "how hot is {a}?", "?"),
        ("what is your name?", "how heavy is {a}?", "who owns {a}?", "when was {a} made?", "good morning",
         "wo wohnst du?", "is {a} expensive?", "what is the capital of france?", "how does {a} taste?",
         "does {a} smell?", "what happened to {a}?", "xyzzy", "can {a} fly?", "open the door.")),
}

#: Whole instructions by the root's operation. {a} the object, {b} the other one, {v} a value or a distance, {m} a value
#: by its plain name, {side} the direction, {where} a place such as "left of", {new} an object to be made, with "a".
INSTRUCTIONS: dict[str, Phrases] = {
    "change_size": Phrases(
        ("make {a} {v}.", "change the size of {a} to {v}.", "turn {a} into a {v} one.", "change {a} to be {v}.",
         "let {a} be {v}."),
        ("set the size of {a} to {v}.", "{a} should be {v}.", "i want {a} to be {v}.")),
    "change_color": Phrases(
        ("make {a} {v}.", "change the color of {a} to {v}.", "paint {a} {v}.", "color {a} {v}.", "turn {a} {v}.",
         "let {a} be {v}."),
        ("set the color of {a} to {v}.", "{a} should be {v}.", "i want {a} to be {v}.")),
    "change_material": Phrases(
        ("make {a} {v}.", "change the material of {a} to {m}.", "make {a} out of {m}.", "turn {a} into {m}.",
         "let {a} be {v}."),
        ("set the material of {a} to {m}.", "{a} should be made of {m}.", "i want {a} to be {v}.")),
    "change_shape": Phrases(
        ("make {a} a {v}.", "change the shape of {a} to a {v}.", "turn {a} into a {v}.", "change {a} into a {v}.",
         "let {a} be a {v}."),
        ("set the shape of {a} to {v}.", "{a} should be a {v}.", "i want {a} to be a {v}.")),
    "remove": Phrases(
        ("remove {a}.", "take away {a}.", "delete {a}.", "take {a} away.", "remove {a} from the scene.",
         "get rid of {a}."),
        ("{a} should go away.", "clear {a}.", "make {a} disappear.")),
    "move_by": Phrases(
        ("move {a} {v} {side}.", "move {a} {side} by {v}.", "shift {a} {v} {side}.", "push {a} {side} by {v}.",
         "move {a} by {v} {side}."),
        ("{a} should move {v} {side}.", "slide {a} {v} {side}.", "by {v}, move {a} {side}.")),
    "move_next": Phrases(
        ("put {a} directly {where} {b}.", "move {a} right next to {b}, {where} it.", "place {a} directly {where} {b}.",
         "move {a} directly {where} {b}."),
        ("bring {a} directly {where} {b}.", "set {a} down directly {where} {b}.")),
    "insert_at": Phrases(
        ("add {new} {v} {where} {b}.", "put {new} {v} {where} {b}.", "insert {new} {v} {where} {b}.",
         "place {new} {v} {where} {b}."),
        ("create {new} {v} {where} {b}.", "{v} {where} {b}, add {new}.")),
    "insert_next": Phrases(
        ("add {new} directly {where} {b}.", "put {new} directly {where} {b}.", "insert {new} directly {where} {b}.",
         "place {new} directly {where} {b}."),
        ("create {new} directly {where} {b}.", "directly {where} {b}, add {new}.")),
}
