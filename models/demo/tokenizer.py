"""Makes the tokenizer of the demonstration model in hf/, in the published form of Phi-3's.

The merges are learned inside words, then the pre-tokenizer is dropped: like in Llama and Phi-3 the text
becomes "▁"-joined and BPE runs over all of it. No merge crosses a word, so the result is the same.
What no piece covers is written with the 256 byte tokens, so every text has ids.

Usage: python3 tokenizer.py
"""
import itertools
import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

import corpus

HF = Path(__file__).parent / "hf"
VOCAB_SIZE = 2048  # with the control tokens
CONTROL = ["<|endoftext|>", "<|assistant|>"] + [f"<|placeholder{i}|>" for i in range(1, 5)] + ["<|system|>", "<|end|>"] \
    + [f"<|placeholder{i}|>" for i in (5, 6)] + ["<|user|>"] + [f"<|placeholder{i}|>" for i in range(7, 12)]
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}")


def learn_merges():
    """Returns (vocab, merges) of a BPE over the ASCII text of 20000 chats."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex("\n"), "removed"), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always"),
        pre_tokenizers.Punctuation("isolated"), pre_tokenizers.Digits(individual_digits=True)])
    first = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=VOCAB_SIZE - len(CONTROL), special_tokens=first, show_progress=False,
                                  initial_alphabet=["▁"] + [chr(c) for c in range(33, 127)])
    texts = (text.encode("ascii", "ignore").decode() for messages in itertools.islice(corpus.chats(seed=1), 20000) for _, text in messages)
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [" ".join(pair) for pair in model["merges"]]


def added(token, token_id):
    stripping = token not in ("<unk>", "<s>", "<|endoftext|>")  # as published: the newline after a control token is swallowed
    return {"id": token_id, "content": token, "single_word": False, "lstrip": False, "rstrip": stripping, "normalized": False,
            "special": token != "</s>"}


def write(name, value):
    (HF / name).write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main():
    HF.mkdir(exist_ok=True)
    vocab, merges = learn_merges()
    base = len(vocab)
    control = {token: base + i for i, token in enumerate(CONTROL)}
    tokens = [added(token, i) for i, token in enumerate(["<unk>", "<s>", "</s>"])] + [added(t, i) for t, i in control.items()]
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    write("tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing", "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [bos, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<s>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": True, "byte_fallback": True, "ignore_merges": False, "vocab": vocab, "merges": merges}})
    write("tokenizer_config.json", {
        "add_bos_token": True, "add_eos_token": False, "add_prefix_space": None,
        "added_tokens_decoder": {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in tokens},
        "bos_token": "<s>", "chat_template": CHAT_TEMPLATE, "clean_up_tokenization_spaces": False, "eos_token": "<|endoftext|>",
        "legacy": False, "model_max_length": 512, "pad_token": "<|endoftext|>", "padding_side": "left", "sp_model_kwargs": {},
        "tokenizer_class": "LlamaTokenizer", "unk_token": "<unk>", "use_default_system_prompt": False})
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    write("special_tokens_map.json", {name: {"content": token, **plain} for name, token in (
        ("bos_token", "<s>"), ("eos_token", "<|endoftext|>"), ("pad_token", "<|endoftext|>"), ("unk_token", "<unk>"))})
    print(f"{base} pieces and {len(CONTROL)} control tokens, {len(merges)} merges")


if __name__ == "__main__":
    main()
