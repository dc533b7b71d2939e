"""The judge's folder: it is loaded as it was packed, and what is wrong with it is named."""

from pathlib import Path

import pytest
import torch

from pops.errors import WeightsError
from pops.pocket.build.package import pack_judge
from pops.pocket.judge import Judge, JudgeConfig, load_judge

QUESTIONS = {"object": 20, "worn hat": 21}


def test_a_packed_judge_answers_nearly_as_before_also_questions_of_two_words(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    judge = Judge(JudgeConfig(16, (4, 8), QUESTIONS)).eval()
    pictures = torch.rand(4, 3, 16, 16)
    with torch.no_grad():
        before = judge(pictures)
        pack_judge(judge, tmp_path)
        after = load_judge(tmp_path / "judge")(pictures)
    assert set(after) == set(QUESTIONS)
    for question, logits in before.items():
        torch.testing.assert_close(after[question], logits, rtol=0, atol=0.05)


def test_a_question_that_is_no_name_is_told_as_a_key_of_the_questions() -> None:
    found = {"size": 16, "widths": [4], "questions": {"worn.hat": 3}}
    with pytest.raises(WeightsError, match=r"^judge: a key of questions: Expected"):
        JudgeConfig.from_dict(found, "judge")
