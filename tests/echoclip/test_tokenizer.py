"""CLIP's token ids, as open_clip computes them."""

import hashlib
import importlib.resources

import numpy as np
import pytest
from golden_weights import golden

from echojax import echoclip
from echojax.echoclip import prompts, tokenizer

IDS = {
    "NOTHING": [49406, 2586, 49407],
    "LEFT VENTRICLE": [49406, 1823, 1240, 9511, 579, 49407],
    "WALL": [49406, 2569, 49407],
    "THE MITRAL VALVE IS CLOSED": [49406, 518, 3303, 1406, 17001, 533, 4552, 49407],
    "THE MITRAL VALVE IS OPEN": [49406, 518, 3303, 1406, 17001, 533, 1488, 49407],
    "LV EJECTION FRACTION IS 55%. ": [49406, 11184, 29771, 740, 26788, 533, 276, 276, 12475, 49407],
    "THE LEFT VENTRICULAR EJECTION FRACTION IS ESTIMATED TO BE 55% ": [
        *(49406, 518, 1823, 1240, 9511, 4927, 29771, 740, 26788, 533, 16665, 531, 655, 276, 276, 260, 49407)
    ],
}
# Computed with open_clip_torch 3.3.0.
OTHER_IDS = {
    "": [],
    "It's  WE'LL don't\t55½% &amp;lt; naïve 心脏 😀_a": [
        *(585, 568, 649, 1342, 847, 713, 276, 276, 33613, 260, 283, 1097, 35689, 563),
        *(161, 123, 225, 164, 226, 493, 12832, 318, 320),
    ],
    "mitral/aortic (severe)--A4C...": [3303, 1406, 270, 32044, 1550, 263, 6215, 8, 2432, 320, 275, 322, 678],
    "×10³ 'S o'clock": [16165, 272, 271, 126, 367, 568, 334, 262, 6716],
}


@pytest.mark.parametrize("text", IDS)
def test_golden_ids_of_the_specification(text):
    tokens = echoclip.tokenize(text)
    assert tokens.shape == (1, 77)
    assert tokens.dtype == np.int32
    ids = IDS[text]
    assert tokens[0, : len(ids)].tolist() == ids
    assert not tokens[0, len(ids) :].any()


@pytest.mark.parametrize("text", OTHER_IDS)
def test_signs_contractions_and_other_scripts(text):
    assert tokenizer.encode(text) == OTHER_IDS[text]


def test_golden_ids_of_open_clip():
    expected = golden("echoclip_eval")
    assert np.array_equal(echoclip.tokenize(expected["prompts"].tolist()), expected["tokens"])


def test_long_texts_keep_their_end_token():
    tokens = echoclip.tokenize(["wall " * 100, "wall " * 75, "wall " * 74])
    assert tokens[0].tolist() == [49406, *[2569] * 75, 49407]
    assert tokens[1].tolist() == tokens[0].tolist()
    assert tokens[2, 74:].tolist() == [2569, 49407, 0]


def test_case_white_space_and_entities_do_not_matter():
    plain, other = echoclip.tokenize(["left & right ventricle", "  LEFT\n&amp;amp;\tright   Ventricle "])
    assert np.array_equal(plain, other)


def test_digits_are_single_tokens():
    assert tokenizer.encode("100") == [tokenizer.encode(digit)[0] for digit in "100"]


def test_vocabulary_is_clips():
    file = importlib.resources.files("echojax.echoclip") / tokenizer.MERGES_FILE
    digest = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
    assert "MIT License" in (importlib.resources.files("echojax.echoclip") / "LICENSE.bpe.txt").read_text()
    assert max(tokenizer.encode("<end_of_text>")) == 49407


def test_202_prompts_of_the_ejection_fraction():
    asked = prompts.ef_prompts()
    assert len(asked.texts) == len(asked.ef_percent) == 202
    assert asked.texts[55] == "THE LEFT VENTRICULAR EJECTION FRACTION IS ESTIMATED TO BE 55% "
    assert asked.texts[101 + 55] == "LV EJECTION FRACTION IS 55%. "
    assert asked.ef_percent.tolist() == [*range(101), *range(101)]
    lengths = np.argmax(echoclip.tokenize(asked.texts), axis=1)
    assert lengths.max() < 20
