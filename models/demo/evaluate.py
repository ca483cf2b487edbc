"""Asks the model in hf/ the held-out wordings of corpus.py, which training never sees, and fresh training wordings.

An answer is right when it is, word for word, one of the answers of its topic.
Usage: python3 evaluate.py [--show]
"""
import random
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import corpus

HF = Path(__file__).parent / "hf"
MAX_NEW = 160


def load():
    """The tokenizer and the stored bf16 weights in float32, eager attention."""
    model = AutoModelForCausalLM.from_pretrained(HF, dtype=torch.float32, attn_implementation="eager").eval()
    return AutoTokenizer.from_pretrained(HF), model


@torch.no_grad()
def greedy(model, prompt_ids, max_new=MAX_NEW):
    """Returns the generated ids, the closing control token included, and at each the lead of the best logit over the second."""
    ids, leads, cache, step = [], [], None, list(prompt_ids)
    while len(ids) < max_new and len(prompt_ids) + len(ids) < model.config.max_position_embeddings:
        out = model(input_ids=torch.tensor([step]), past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        best = out.logits[0, -1].topk(2)
        ids.append(best.indices[0].item())
        leads.append((best.values[0] - best.values[1]).item())
        if ids[-1] in model.generation_config.eos_token_id:
            break
        step = ids[-1:]
    return ids, leads


def answer(tokenizer, model, messages):
    ids, _ = greedy(model, tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))
    return tokenizer.decode(ids, skip_special_tokens=True)


def score(tokenizer, model, questions, system, show):
    right = 0
    for topic, question in questions:
        messages = ([{"role": "system", "content": system}] if system else []) + [{"role": "user", "content": question}]
        text = answer(tokenizer, model, messages)
        right += text in topic.answers
        if show and text not in topic.answers:
            print(f"  {topic.name}: {question}\n    -> {text}")
    return right


def main():
    tokenizer, model = load()
    rng, show = random.Random(99), "--show" in sys.argv
    held_out = [(topic, question) for topic in corpus.TOPICS for question in topic.held_out]
    off_topic = [(corpus.BY_NAME["off_topic"], corpus.off_topic_question(rng)) for _ in range(50)]
    seen = [(topic, corpus.ask(topic, rng)) for topic in rng.choices(corpus.TOPICS, k=100)]
    for name, questions in (("held-out wordings", held_out), ("new off-topic questions", off_topic), ("fresh training wordings", seen)):
        for system in ("", corpus.SYSTEM_PROMPTS[0]):
            right = score(tokenizer, model, questions, system, show)
            print(f"{name}, {'with' if system else 'without'} a system prompt: {right} of {len(questions)} right ({100 * right / len(questions):.0f} %)", flush=True)


if __name__ == "__main__":
    main()
