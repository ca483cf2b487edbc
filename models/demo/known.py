"""Writes known.bin: a known answer of the model in hf/, by which phlox tells whether a device computes right.

What transformers computes in float32 with eager attention from the stored bf16 weights: a chat prompt, the first ids of its
greedy answer, and the logits behind the prompt and behind all but the last of these ids. Little endian: int32 prompt,
int32 steps; int32 ids [prompt + steps - 1]; float32 logits [steps, vocab].
Usage: python3 known.py
"""
import struct
from pathlib import Path

import numpy as np
import torch

from evaluate import load

STEPS = 4
CHAT = [{"role": "system", "content": "You are a helpful AI assistant."},
        {"role": "user", "content": "What is the difference between an NPU and a GPU?"}]


@torch.no_grad()
def main():
    tokenizer, model = load()
    ids = tokenizer.apply_chat_template(CHAT, add_generation_prompt=True, return_dict=False)
    prompt, logits = len(ids), []
    for _ in range(STEPS):
        logits.append(model(input_ids=torch.tensor([ids])).logits[0, -1].float().numpy())
        ids = ids + [int(logits[-1].argmax())]
    ids = ids[:-1]
    for row in logits:
        best = np.sort(row)[-2:]
        assert best[1] - best[0] > 1, "the lead of the best id is small: choose another chat"
    with open(Path(__file__).parent / "known.bin", "wb") as out:
        out.write(struct.pack("<2i", prompt, STEPS) + np.asarray(ids, "<i4").tobytes())
        out.write(np.asarray(logits, "<f4").tobytes())
    print(f"{prompt} ids of a prompt, {STEPS} steps, vocabulary of {len(logits[0])}")


main()
