"""The phrasings of the question language as data: what people say for each function.

Each entry lists phrasings seen in training and phrasings held out for testing, about a third where there are three or
more; the flag is where a phrasing stands, so it never changes by chance. Every word of a held-out phrasing stands in
some seen one: what is tested is how words are put together. Slots: {a} {b} are phrases of the inputs, {v}
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
    "left": Phrases(("left of", "to the left of", "on the left side of", "further left than"), ("on the left of",)),
    "right": Phrases(("right of", "to the right of", "on the right side of", "further right than"),
                     ("on the right of",)),
    "front": Phrases(("in front of", "on the front side of", "closer to the viewer than", "nearer to the camera than"),
                     ("nearer to the viewer than", "closer to the camera than")),
    "behind": Phrases(("behind", "on the back side of", "farther from the viewer than", "further from the camera than"),
                      ("further from the viewer than", "farther from the camera than")),
}
#: The same for where something goes.
PLACES: dict[str, Phrases] = {
    "left": Phrases(("left of", "to the left of", "on the left side of"), ("on the left of",)),
    "right": Phrases(("right of", "to the right of", "on the right side of"), ("on the right of",)),
    "front": Phrases(("in front of", "to the front of", "at the front side of"), ("at the front of",)),
    "behind": Phrases(("behind", "to the back of", "at the back side of"), ("at the back of",)),
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
    "relate": Phrases(("{v} {a}", "{that} {are} {v} {a}", "{that} {are} standing {v} {a}"), ("standing {v} {a}",)),
    "same": Phrases(
        ("of the same {attribute} as {a}", "{that} {have} the same {attribute} as {a}",
         "{that} {are} the same {attribute} as {a}", "with the same {attribute} as {a}",
         "sharing {attribute} with {a}", "whose {attribute} is that of {a}"),
        ("sharing the {attribute} of {a}", "whose {attribute} is the same as that of {a}")),
    "between": Phrases(
        ("between {a} and {b}", "{that} {are} between {a} and {b}", "{that} {are} in between {a} and {b}"),
        ("in between {a} and {b}",)),
    "within": Phrases(
        ("within {v} of {a}", "{that} {are} within {v} of {a}", "no more than {v} from {a}", "closer than {v} to {a}",
         "at most {v} from {a}", "not more than {v} away from {a}", "within a radius of {v} around {a}"),
        ("at most {v} away from {a}", "in a radius of {v} around {a}")),
    "union": Phrases(("{that} {are} {a} or {b}", "{that} {are} either {a} or {b}"), ()),
    "intersect": Phrases(("{that} {are} both {a} and {b}", "{that} {are} {a} and {b}"), ()),
}
#: One object of a set: {a} is the point, {n} the noun phrase of the set, {s} its plural.
SUPERLATIVES: dict[str, Phrases] = {
    "nearest": Phrases(("the {n} nearest to {a}", "the {n} closest to {a}", "the {n} with the shortest distance to {a}",
                        "the {n} whose way to {a} is the shortest"), ("the {n} with the shortest way to {a}",)),
    "farthest": Phrases(("the {n} farthest from {a}", "the {n} furthest from {a}",
                         "the {n} that is most distant from {a}"), ("the {n} most distant from {a}",)),
    "largest": Phrases(("the largest {n}", "the biggest {n}", "the {n} with the greatest extent"),
                       ("the {n} of the greatest extent",)),
    "smallest": Phrases(("the smallest {n}", "the tiniest {n}", "the {n} with the least extent"),
                        ("the {n} of the least extent",)),
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
         "what number of {s} are there?", "how many {s}?", "tell me how many {s} there are.",
         "how many {s} can you see?", "tell me the number of {s}.", "give me the count of {s}.",
         "i would like to know the number of {s}.", "how many {s} exist?", "could you tell me how many {s} are there?"),
        ("how many {s} can be seen?", "give me the number of {s}.", "i would like to know how many {s} there are.",
         "do you know how many {s} there are?", "what is the count of {s}?", "tell me the count of {s}.")),
    "exist": Phrases(
        ("is there {an}?", "are there any {s}?", "do you see {an}?", "is there any {n}?", "are there {s}?",
         "is {an} there?", "do you see any {s}?", "can you see {an}?", "does any {n} exist?", "can any {s} be seen?",
         "tell me if there are any {s}.", "could you tell me if there is {an}?", "do you know if {an} exists?"),
        ("can {an} be seen?", "does {an} exist?", "could you tell me if there are any {s}?", "can you see any {s}?",
         "tell me if there is {an}.", "do any {s} exist?")),
    "query_size": Phrases(
        ("what size is {a}?", "how big is {a}?", "what is the size of {a}?", "is {a} large or small?",
         "{a} is what size?", "there is {one}; what size is it?", "{a}: big or small?", "tell me what size {a} is.",
         "what size does {a} have?", "do you know the size of {a}?", "looking at {a}, how big is it?",
         "give me the size of {a}.", "of which size is {a}?"),
        ("tell me the size of {a}.", "how big is {a}, large or small?", "of what size is {a}?",
         "looking at {a}, what size does it have?", "do you know what size {a} is?", "which size does {a} have?")),
    "query_color": Phrases(
        ("what color is {a}?", "what is the color of {a}?", "{a} is what color?", "which color does {a} have?",
         "what colour is {a}?", "there is {one}; what is its color?", "the color of {a}?", "{a} has what color?",
         "tell me what color {a} has.", "of which color is {a}?", "do you know the color of {a}?",
         "looking at {a}, what is its color?", "give me the color of {a}."),
        ("tell me the color of {a}.", "of what color is {a}?", "do you know what color {a} is?",
         "looking at {a}, what color does it have?", "what color does {a} have?", "tell me what color {a} is.")),
    "query_material": Phrases(
        ("what is {a} made of?", "what material is {a}?", "what is the material of {a}?", "is {a} metal or rubber?",
         "{a} is made of what?", "there is {one}; what is it made of?", "{a} has what material?",
         "is {a} shiny or matte?", "tell me what {a} is made of.", "of which material is {a}?",
         "do you know the material of {a}?", "looking at {a}, what material is it?", "give me the material of {a}."),
        ("tell me the material of {a}.", "of what material is {a}?", "which material is {a} made of?",
         "looking at {a}, what is it made of?", "do you know what {a} is made of?", "what material does {a} have?")),
    "query_shape": Phrases(
        ("what shape is {a}?", "what is the shape of {a}?", "{a} is what shape?", "which shape does {a} have?",
         "there is {one}; what shape is it?", "what shape does {a} have?", "the shape of {a}?", "{a} has what shape?",
         "tell me what shape {a} has.", "of which shape is {a}?", "do you know the shape of {a}?",
         "looking at {a}, what is its shape?", "give me the shape of {a}."),
        ("tell me the shape of {a}.", "of what shape is {a}?", "do you know what shape {a} is?",
         "looking at {a}, what shape does it have?", "tell me what shape {a} is.", "{a} is of what shape?")),
    "equal_integer": Phrases(
        ("are there as many {s} as {t}?", "is the number of {s} the same as the number of {t}?",
         "are there an equal number of {s} and {t}?", "is the number of {s} equal to the number of {t}?",
         "are {s} and {t} equally many?", "do {s} occur as often as {t}?",
         "is the count of {s} the same as that of {t}?", "are the {s} as many as the {t}?"),
        ("do {s} and {t} occur equally often?", "is the count of {s} equal to that of {t}?",
         "is the number of {s} the same as that of {t}?", "are there equally many {s} and {t}?")),
    "less_than": Phrases(
        ("are there fewer {s} than {t}?", "is the number of {s} less than the number of {t}?",
         "are there less {s} than {t}?", "do you see fewer {s} than {t}?",
         "is the count of {s} smaller than the count of {t}?", "are {s} fewer in number than {t}?",
         "is the number of {s} less than that of {t}?", "are there fewer of the {s} than of the {t}?"),
        ("is the number of {s} smaller than that of {t}?", "are the {s} fewer than the {t}?",
         "is the count of {s} less than that of {t}?", "can you see fewer {s} than {t}?")),
    "greater_than": Phrases(
        ("are there more {s} than {t}?", "is the number of {s} greater than the number of {t}?",
         "do you see more {s} than {t}?", "are there a greater number of {s} than {t}?",
         "is the count of {s} larger than the count of {t}?", "is it true that {s} outnumber {t}?",
         "is the number of {s} greater than that of {t}?", "are there more of the {s} than of the {t}?"),
        ("is the number of {s} larger than that of {t}?", "do the {s} outnumber the {t}?",
         "is the count of {s} greater than that of {t}?", "can you see more {s} than {t}?")),
    "equal": Phrases(
        ("is {a} the same {attribute} as {b}?", "do {a} and {b} have the same {attribute}?",
         "does {a} have the same {attribute} as {b}?", "are {a} and {b} the same {attribute}?",
         "is the {attribute} of {a} the same as that of {b}?", "is the {attribute} of {a} equal to the one of {b}?",
         "are {a} and {b} equal in {attribute}?", "do {a} and {b} match in {attribute}?",
         "does {a} share its {attribute} with {b}?", "are {a} and {b} of the same {attribute}?"),
        ("are {a} and {b} of equal {attribute}?", "does the {attribute} of {a} match that of {b}?",
         "do {a} and {b} share the same {attribute}?", "is {a} of the same {attribute} as {b}?")),
    "locate": Phrases(
        ("where is {a}?", "what is the position of {a}?", "where can i find {a}?", "where does {a} stand?",
         "give me the position of {a}.", "what are the coordinates of {a}?", "tell me where {a} stands.",
         "at which position does {a} stand?", "please locate {a}.", "tell me the position of {a}."),
        ("tell me where {a} is.", "at what position is {a}?", "locate {a}.", "give me the coordinates of {a}.",
         "do you know where {a} is?")),
    "distance": Phrases(
        ("how far is {a} from {b}?", "what is the distance between {a} and {b}?", "how far apart are {a} and {b}?",
         "what is the distance from {a} to {b}?", "how many metres are between {a} and {b}?",
         "measure how far {a} is from {b}.", "give me the distance between {a} and {b}.",
         "how far away is {a} from {b}?", "tell me the distance from {a} to {b}."),
        ("measure the distance between {a} and {b}.", "how far away from {b} is {a}?",
         "give me the distance of {a} from {b}.", "tell me how far {a} is from {b}.",
         "what distance is between {a} and {b}?")),
    "distance_camera": Phrases(
        ("how far is {a}?", "how far away is {a}?", "what is the distance to {a}?", "how far is it to {a}?",
         "how many metres away is {a}?", "measure how far away {a} is.", "at which distance does {a} stand?",
         "tell me the distance to {a}."),
        ("measure the distance to {a}.", "at what distance is {a}?", "give me the distance to {a}.",
         "tell me how far away {a} is.")),
    "extent": Phrases(
        ("how large is {a} in metres?", "what are the dimensions of {a}?", "how many metres does {a} measure?",
         "what is the extent of {a}?", "how wide and how high is {a}?", "tell me the dimensions of {a}.",
         "measure {a}.", "what is the size of {a} in metres?", "how many meters does {a} measure?"),
        ("give me the dimensions of {a}.", "measure the size of {a} in metres.",
         "what is the extent of {a} in meters?", "tell me the extent of {a}.")),
    "object": Phrases(
        ("what is {a}?", "which object is {a}?", "which one is {a}?", "describe {a}.", "show me {a}.",
         "please find {a}.", "can you find {a}?", "please point at {a}."),
        ("can you show me {a}?", "point at {a}.", "find {a}.", "can you point at {a}?")),
    "objects": Phrases(
        ("which {s} are there?", "list the {s}.", "what are the {s}?", "show me the {s}.", "which {s} do you see?",
         "show me all {s}.", "please find the {s}.", "please list all the {s}."),
        ("list all {s}.", "find all {s}.", "can you show me the {s}?", "which {s} can you see?")),
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
         "let {a} be {v}.", "set {a} to {v}.", "{a} should become {v}.", "i want {a} to become {v}."),
        ("set the size of {a} to {v}.", "{a} should be {v}.", "i want {a} to be {v}.", "let {a} become {v}.")),
    "change_color": Phrases(
        ("make {a} {v}.", "change the color of {a} to {v}.", "paint {a} {v}.", "color {a} {v}.", "turn {a} {v}.",
         "let {a} be {v}.", "set {a} to {v}.", "{a} should become {v}.", "i want {a} to become {v}."),
        ("set the color of {a} to {v}.", "{a} should be {v}.", "i want {a} to be {v}.", "let {a} become {v}.")),
    "change_material": Phrases(
        ("make {a} {v}.", "change the material of {a} to {m}.", "make {a} out of {m}.", "turn {a} into {m}.",
         "let {a} be {v}.", "let {a} be made of {m}.", "{a} should become {v}.", "i want {a} to become {v}."),
        ("set the material of {a} to {m}.", "{a} should be made of {m}.", "i want {a} to be {v}.",
         "let {a} become {v}.")),
    "change_shape": Phrases(
        ("make {a} a {v}.", "change the shape of {a} to a {v}.", "turn {a} into a {v}.", "change {a} into a {v}.",
         "let {a} be a {v}.", "{a} should become a {v}.", "i want {a} to become a {v}."),
        ("set the shape of {a} to {v}.", "{a} should be a {v}.", "i want {a} to be a {v}.", "let {a} become a {v}.")),
    "remove": Phrases(
        ("remove {a}.", "take away {a}.", "delete {a}.", "take {a} away.", "remove {a} from the scene.",
         "get rid of {a}.", "let {a} disappear.", "clear {a} away.", "{a} should go."),
        ("{a} should go away.", "clear {a}.", "make {a} disappear.", "i want {a} to go away.")),
    "move_by": Phrases(
        ("move {a} {v} {side}.", "move {a} {side} by {v}.", "shift {a} {v} {side}.", "push {a} {side} by {v}.",
         "move {a} by {v} {side}.", "let {a} move {side} by {v}.", "slide {a} {side} by {v}.",
         "{a} should be moved {v} {side}.", "by {v}, push {a} {side}."),
        ("{a} should move {v} {side}.", "slide {a} {v} {side}.", "by {v}, move {a} {side}.", "let {a} move {v} {side}.",
         "shift {a} {side} by {v}.")),
    "move_next": Phrases(
        ("put {a} directly {where} {b}.", "move {a} right next to {b}, {where} it.", "place {a} directly {where} {b}.",
         "move {a} directly {where} {b}.", "bring {a} right next to {b}, {where} it.",
         "set {a} right next to {b}, {where} it.", "put {a} down directly {where} {b}."),
        ("bring {a} directly {where} {b}.", "set {a} down directly {where} {b}.",
         "put {a} right next to {b}, {where} it.")),
    "insert_at": Phrases(
        ("add {new} {v} {where} {b}.", "put {new} {v} {where} {b}.", "insert {new} {v} {where} {b}.",
         "place {new} {v} {where} {b}.", "{v} {where} {b}, put {new}.", "i want {new} {v} {where} {b}.",
         "create {new}, {v} {where} {b}."),
        ("create {new} {v} {where} {b}.", "{v} {where} {b}, add {new}.", "let {new} be {v} {where} {b}.")),
    "insert_next": Phrases(
        ("add {new} directly {where} {b}.", "put {new} directly {where} {b}.", "insert {new} directly {where} {b}.",
         "place {new} directly {where} {b}.", "directly {where} {b}, put {new}.", "i want {new} directly {where} {b}.",
         "create {new} right next to {b}, {where} it."),
        ("create {new} directly {where} {b}.", "directly {where} {b}, add {new}.",
         "add {new} right next to {b}, {where} it.")),
}
