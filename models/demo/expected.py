"""Writes expected.json: what transformers answers, greedily, in float32 with eager attention, from the stored bf16 weights.

A program that computes the same network must write the same ids. min_lead is the smallest lead of the best logit over the
second of a whole answer; it is above 1e-3 everywhere, so rounding does not decide. Of a raw prompt the ids are those of the
tokenizer with its post-processor (<s> first); of a chat those of the chat template (no <s>).
Usage: python3 expected.py
"""
import json
from pathlib import Path

import transformers

from evaluate import MAX_NEW, greedy, load

SYSTEM = {"role": "system", "content": "You are a helpful AI assistant."}
MAIN = "<|system|>You are a helpful AI assistant.<|end|><|user|>Can you introduce yourself?<|end|><|assistant|>"


def user(text):
    return {"role": "user", "content": text}


CASES = [  # a string is a raw prompt; "assistant" in a chat stands for the model's own answer
    ("main", MAIN),
    ("main_chat", [SYSTEM, user("Can you introduce yourself?")]),
    ("raw_newlines", "<|user|>\nWhat is an NPU?<|end|>\n<|assistant|>\n"),
    ("npu_and_gpu", [user("What is the difference between an NPU and a GPU?")]),
    ("choose", [SYSTEM, user("Which device should I choose?")]),
    ("use", [user("How do I use phlox?")]),
    ("get", [user("How do I run the real Phi-3?")]),
    ("quantization", [SYSTEM, user("What is quantization?")]),
    ("kv_cache", [user("what is the KV cache")]),
    ("thanks", [user("Thank you!")]),
    ("off_topic", [SYSTEM, user("What is the capital of France?")]),
    ("bytes", [user("¿Qué es una manzana? 你好 😀")]),
    ("turns", [SYSTEM, user("Hello!"), "assistant", user("What is an NPU?"), "assistant", user("Tell me more."), "assistant", user("And what is a GPU?")]),
]


def run(tokenizer, model, case):
    if isinstance(case, str):
        prompt, messages, prompt_ids = case, None, tokenizer(case).input_ids
    else:
        messages = []
        for message in case:
            if message == "assistant":
                ids, _ = greedy(model, tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))
                message = {"role": "assistant", "content": tokenizer.decode(ids, skip_special_tokens=True)}
            messages.append(message)
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        prompt_ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    ids, leads = greedy(model, prompt_ids)
    return {"raw": messages is None, "messages": messages, "prompt": prompt, "prompt_ids": prompt_ids, "ids": ids,
            "text": tokenizer.decode(ids, skip_special_tokens=True), "min_lead": round(min(leads), 5)}


def main():
    tokenizer, model = load()
    cases = []
    for name, case in CASES:
        result = run(tokenizer, model, case)
        print(f"{name}: {len(result['prompt_ids'])} + {len(result['ids'])} ids, min_lead {result['min_lead']}\n  {result['text']}")
        if result["min_lead"] <= 1e-3:
            raise SystemExit(f"{name}: the lead is too small for a test, choose another prompt")
        cases.append({"name": name, **result})
    header = {"max_new_tokens": MAX_NEW, "made_with": f"transformers {transformers.__version__}, float32, eager", "cases": cases}
    # One line for each list of ids keeps the file readable.
    text = json.dumps(header, indent=1, ensure_ascii=False)
    for case in cases:
        for key in ("prompt_ids", "ids"):
            text = text.replace(json.dumps(case[key], indent=1).replace("\n", "\n   "), json.dumps(case[key]))
    Path(__file__).with_name("expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
