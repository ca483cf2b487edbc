"""Trains the demonstration model on the CPU: a small Phi3ForCausalLM from random weights, on corpus.py.

Usage: python3 train.py [--steps N] [--minutes M] [--batch-tokens N] [--cut P] [--threads N] [--resume] [--from-hf] [--rate R] --work DIR
The learning rate falls to zero after N steps or M minutes, whichever comes first. Every 200 steps, and at
the end, the weights (bf16) and the configuration are written to hf/, and the full state to DIR.
"""
import argparse
import json
import math
import os
import random
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads sleep: the machine may be shared

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, Phi3Config, Phi3ForCausalLM

import corpus


HF = Path(__file__).parent / "hf"
PEAK_RATE, WARMUP = 2e-3, 100
DROPOUT = 0.05  # while training only


def configuration(tokenizer):
    ids = tokenizer.get_vocab()
    return {
        "architectures": ["Phi3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 1, "embd_pdrop": 0.0,
        "eos_token_id": ids["<|endoftext|>"], "hidden_act": "silu", "hidden_size": 256, "initializer_range": 0.02, "intermediate_size": 512,
        "max_position_embeddings": 512, "model_type": "phi3", "num_attention_heads": 8, "num_hidden_layers": 5, "num_key_value_heads": 2,
        "original_max_position_embeddings": 512, "pad_token_id": ids["<|endoftext|>"], "resid_pdrop": 0.0, "rms_norm_eps": 1e-05,
        "rope_scaling": None, "rope_theta": 10000.0, "sliding_window": None, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "transformers_version": "4.57.1", "use_cache": True, "vocab_size": len(tokenizer)}


def encode(messages, tokenizer, ids, with_bos):
    """Token ids of a chat and, beside each, whether the model shall learn to write it."""
    tokens, learn = ([1], [0]) if with_bos else ([], [])
    for role, text in messages:
        body = tokenizer.encode(text, add_special_tokens=False) + [ids["<|end|>"]]
        tokens += [ids[f"<|{role}|>"]] + body
        learn += [0] + [int(role == "assistant")] * len(body)
    return tokens, learn


def example(messages, tokenizer, ids, cut, rng):
    """A whole chat, or with probability cut only its beginning up to some tokens into the first answer.

    The first tokens of an answer decide which answer it is, and that is the hard part: cut chats
    train it on many more questions in the same time.
    """
    tokens, learn = encode(messages, tokenizer, ids, rng.random() < 0.5)
    if rng.random() < cut:
        end = learn.index(1) + rng.randint(4, 16)
        tokens, learn = tokens[:end], learn[:end]
    return tokens, learn


def batches(tokenizer, context, batch_tokens, cut, seed):
    """An endless stream of (ids, labels) of about batch_tokens; rows of a batch have about the same length."""
    ids, stream, rng = tokenizer.get_vocab(), corpus.chats(seed), random.Random(seed + 1)
    while True:
        rows = sorted((example(next(stream), tokenizer, ids, cut, rng) for _ in range(1024)), key=lambda row: len(row[0]))
        groups, group = [], []
        for row in rows:
            if len(row[0]) > context:
                continue
            if (len(group) + 1) * len(row[0]) > batch_tokens:
                groups.append(group)
                group = []
            group.append(row)
        rng.shuffle(groups)  # the last, unfinished group is dropped
        for group in groups:
            width = len(group[-1][0])
            x = torch.zeros(len(group), width, dtype=torch.long)
            y = torch.full((len(group), width), -100, dtype=torch.long)
            for i, (tokens, learn) in enumerate(group):
                x[i, :len(tokens)] = torch.tensor(tokens)
                for j in range(1, len(tokens)):
                    if learn[j]:
                        y[i, j - 1] = tokens[j]  # position j - 1 predicts token j
            yield x, y


def save(model, config):
    """Writes the published files: the weights rounded to bf16, the tied lm_head left out."""
    weights = {name: tensor.detach().to(torch.bfloat16).contiguous() for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    save_file(weights, HF / "model.safetensors.part", metadata={"format": "pt"})
    os.chmod(HF / "model.safetensors.part", 0o644)
    os.replace(HF / "model.safetensors.part", HF / "model.safetensors")
    (HF / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--batch-tokens", type=int, default=4096, help="rows of a batch times the longest row")
    parser.add_argument("--cut", type=float, default=0.0, help="share of the chats that is cut in the first answer")
    parser.add_argument("--work", type=Path, required=True, help="where to keep the full state, outside of the source tree")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--from-hf", action="store_true", help="begin with the weights in hf/, after a change of the corpus")
    parser.add_argument("--rate", type=float, default=PEAK_RATE)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    tokenizer = AutoTokenizer.from_pretrained(HF)
    config = configuration(tokenizer)
    ids = tokenizer.get_vocab()
    (HF / "generation_config.json").write_text(json.dumps({
        "_from_model_config": True, "bos_token_id": 1, "eos_token_id": [ids["<|endoftext|>"], ids["<|assistant|>"], ids["<|end|>"]],
        "pad_token_id": ids["<|endoftext|>"], "transformers_version": "4.57.1"}, indent=2) + "\n")
    model = Phi3ForCausalLM(Phi3Config(**{**config, "resid_pdrop": DROPOUT, "embd_pdrop": DROPOUT}, attn_implementation="sdpa"))
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
                                  lr=args.rate, betas=(0.9, 0.98))
    if args.from_hf:
        model.load_state_dict(load_file(HF / "model.safetensors"), strict=False)
    step, before = 0, 0.0
    if args.resume:
        state = torch.load(args.work / "state.pt")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, before = state["step"], state["seconds"]
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)

    stream, start = batches(tokenizer, config["max_position_embeddings"], args.batch_tokens, args.cut, seed=100 + step), time.time()
    model.train()
    losses, tokens, done = [], 0, False
    while not done:
        seconds = before + time.time() - start
        progress = min(1.0, max(step / args.steps, seconds / 60 / args.minutes))
        rate = args.rate * min(1.0, (step + 1) / WARMUP) * (0.5 + 0.5 * math.cos(math.pi * progress))
        for group in optimizer.param_groups:
            group["lr"] = rate
        x, y = next(stream)
        learned = y != -100
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = model.model(input_ids=x, use_cache=False).last_hidden_state
            logits = model.lm_head(hidden[learned])
        loss = torch.nn.functional.cross_entropy(logits.float(), y[learned])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        tokens += x.numel()
        step += 1
        done = progress >= 1.0
        if step % 50 == 0 or done:
            print(f"step {step} loss {sum(losses) / len(losses):.4f} rate {rate:.2e} minutes {seconds / 60:.1f} tok/s {tokens / (time.time() - start):.0f}", flush=True)
            losses = []
        if step % 200 == 0 or done:
            save(model, config)
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "seconds": seconds}, args.work / "state.pt")


if __name__ == "__main__":
    main()
