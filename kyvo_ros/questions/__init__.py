"""The question language: functional programs, their execution on a scene, and their phrasing (pure Python)."""

from kyvo_ros.questions.answers import Answer, PremiseError, direct_answer, in_frame
from kyvo_ros.questions.clevr_format import (
    ClevrQuestion, QuestionFormatError, program_from_nodes, program_to_nodes, read_questions)
from kyvo_ros.questions.edit_generator import Edit, EditGenerator, EditSettings
from kyvo_ros.questions.edits import MIN_GAP_UNITS, EditRules, apply_edit
from kyvo_ros.questions.execution import Executor
from kyvo_ros.questions.functions import ATTRIBUTES, FUNCTIONS
from kyvo_ros.questions.generator import Question, QuestionGenerator, QuestionSettings
from kyvo_ros.questions.linear import ANSWER, EDIT, RULES, program_of, symbols_of
from kyvo_ros.questions.noise import disturb
from kyvo_ros.questions.phrasing import Speaker
from kyvo_ros.questions.program import Program, ProgramError
from kyvo_ros.questions.sampling import SamplingError

__all__ = [
    "ANSWER", "ATTRIBUTES", "Answer", "ClevrQuestion", "EDIT", "Edit", "EditGenerator", "EditRules", "EditSettings",
    "Executor", "FUNCTIONS", "MIN_GAP_UNITS", "PremiseError", "Program", "ProgramError", "Question",
    "QuestionFormatError", "QuestionGenerator", "QuestionSettings", "RULES", "SamplingError", "Speaker",
    "apply_edit", "direct_answer", "disturb", "in_frame", "program_from_nodes", "program_of", "program_to_nodes",
    "read_questions", "symbols_of",
]
