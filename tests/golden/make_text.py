#!/usr/bin/env python3
"""Makes tests/golden/text/: small tokenizers, what the tokenizers package makes of many texts with
them and with the real Phi-3 tokenizer, and what transformers renders with the chat templates of the
family.

    python3 tests/golden/make_text.py [DIRECTORY OF THE REAL PHI-3 TOKENIZER]

Made with Python 3.11 (unicodedata 14.0: texts hold code points up to that version, which is also
PCRE2 10.42's), tokenizers 0.22.2, transformers 4.57.1, jinja2 3.1.6. Fixed seeds; the same versions
give the same files.
"""
import json
import pathlib
import random
import sys
import unicodedata

import tokenizers
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

assert tokenizers.__version__ == "0.22.2" and transformers.__version__ == "4.57.1"
assert unicodedata.unidata_version == "14.0.0"

OUT = pathlib.Path(__file__).resolve().parent / "text"
REAL = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else
                    OUT.parents[3] / "shared/data/phi3-tokenizer")

# The pre-tokenizer expressions of the published tokenizer.json of microsoft/phi-4 and
# microsoft/Phi-4-mini-instruct (those of the encodings cl100k_base and o200k_base).
PHI4 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
        r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
PHI4_MINI = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
             r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
             r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
             r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
             r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


# ---- texts --------------------------------------------------------------------------------------

def corpus(seed=3):
    r = random.Random(seed)
    nouns = "model token laptop river garden answer question prompt system user end assistant".split()
    verbs = "runs reads writes isn't doesn't they're we'll I've you'd It's grows".split()
    rest = ["in 2024", "with 12345 parts", "(very fast)", "quickly,", "http://a.b/c?d=1", "über",
            "naïve café", "\n\n", "  ", "\t", "你好世界", "привет мир", "the", "a", "of", "the", "and",
            "for (int i = 0; i < 10; i++) {", "}", "don't STOP", "🙂🙂", "==", "...", "--", "//"]
    lines = []
    for _ in range(1500):
        words = [r.choice(r.choice([nouns, verbs, rest])) for _ in range(r.randint(3, 12))]
        lines.append(" ".join(words))
    return lines


WORDS = ("the of Hello world isn't I'M you'Re we'LL she'd DON'T 1234 3.14 3/4 http://a.b/c foo_bar BaR "
         "é ñ ß ſ 'ſ x'ſ K ﬆ ﬁ İ ı ǅ ʰ 你好 世界 こんにちは 안녕 Привет نص हिन्दी ไทย 🙂 👩‍👩‍👧 🇩🇪 <0x0A> <0x41> "
         "▁ ▁▁ < | > end user <| |> <|end| ½ Ⅻ ٣٤ e\u0301 a\u0300\u0301 ..... ----- == //// \\n").split()
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", "\r", "\u00a0", "\u3000", "\u2028", "\u0085",
          "\u200b", "\x0b", "\x0c", "\u180e", "\x1c", "\u1680", "\u202f", " \n ", "\n\t"]


def assigned():
    by_category = {}
    for c in range(0x110000):
        category = unicodedata.category(chr(c))
        if category not in ("Cs", "Cn"):
            by_category.setdefault(category, []).append(chr(c))
    return by_category


BY_CATEGORY = assigned()


def random_text(r, control):
    out = []
    for _ in range(r.randint(1, r.choice([3, 8, 20]))):
        kind = r.random()
        if kind < 0.35:
            out.append(r.choice(WORDS))
        elif kind < 0.6:
            out.append(r.choice(SPACES) * r.choice([1, 1, 1, 2, 5]))
        elif kind < 0.72:
            out.append(r.choice(control))
        elif kind < 0.9:
            out.append(r.choice(BY_CATEGORY[r.choice(list(BY_CATEGORY))]) * r.choice([1, 1, 2, 4]))
        else:
            out.append(r.choice(WORDS).upper())
    return "".join(out)


def texts(seed, count, control):
    r = random.Random(seed)
    fixed = ["", " ", "  ", "\n", "a", " a", "a ", "  a  ", "Hello world", " Hello", "Hello\n", "\nHello",
             "12", "123", "1234567890", "a1b22c333d4444", "\u0000", "a\u0000b", "▁", "▁▁a", " ▁ ",
             "<0x0A>", "<0xFF>", "'s", "'S", "it'S", "IT'S", "'ſ", "x'ſy", "'LL'll'Ll", "'re'RE've",
             "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", " " * 40, "\n" * 40, " \n" * 20, "\t" * 17,
             "=" * 70, "-" * 33, "你" * 20, "🙂" * 9, "a" * 300, " a" * 100, "1" * 50, "ab" * 70,
             "e\u0301" * 8, "HTTPServer", "camelCaseWord", "ABCdefGHI", "ǅungla", "ΑΒΓαβγ", "x\r\ny\r\n",
             "path/to/file\n/\n//", "...\n\n...", "a\u180eb", "a\u2028 b", "\u0085x", "foo\u00a0bar"]
    for c in control:
        fixed += [c, c + c, " " + c + " ", "a" + c + "b", "a \n" + c + "\n\t b", "\n" + c + "\n", c[:-1],
                  c[1:], c.upper(), c[:3] + " " + c[3:]]
    # every category: alone, doubled, in words, behind spaces, before contractions
    for category in sorted(BY_CATEGORY):
        chars = BY_CATEGORY[category]
        picks = [chars[0], chars[-1]] + [r.choice(chars) for _ in range(4)]
        fixed.append(" ".join(picks) + "|" + "".join(picks))
        fixed.append("".join("a%sb %s%s A%s'S\n%s " % (c, c, c, c, c) for c in picks[:3]))
    return fixed + [random_text(r, control) for _ in range(count)]


# ---- tokenizers ---------------------------------------------------------------------------------

def added(id, content, special=True, lstrip=False, rstrip=False, single_word=False, normalized=False):
    return {"id": id, "content": content, "single_word": single_word, "lstrip": lstrip,
            "rstrip": rstrip, "normalized": normalized, "special": special}


def train_bytes(expression):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(expression), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    trainer = trainers.BpeTrainer(vocab_size=420, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    t.train_from_iterator(corpus(), trainer)
    return json.loads(t.to_str())


def train_sentencepiece():
    """Words of "▁", merges within them, and the vocabulary in the order of Llama's."""
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % i for i in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=600, show_progress=False, special_tokens=special,
                                  limit_alphabet=90)
    t.train_from_iterator(corpus(), trainer)
    d = json.loads(t.to_str())
    d["pre_tokenizer"] = None
    return d


def byte_level_split(expression, removed):
    return {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": expression},
         "behavior": "Removed" if removed else "Isolated", "invert": removed},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]}


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
LLAMA_DECODER = {"type": "Sequence", "decoders": [
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
    {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
LLAMA_NORMALIZER = {"type": "Sequence", "normalizers": [
    {"type": "Prepend", "prepend": "▁"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}
BOS_TEMPLATE = {"type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                           {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}


def merges_as(d, pairs):
    d["model"]["merges"] = [list(m) if pairs else " ".join(m) for m in d["model"]["merges"]]


def phi3_added(base, rstrip):
    return ([added(0, "<unk>"), added(1, "<s>"), added(2, "</s>", special=False, rstrip=True)] +
            [added(base + i, c, rstrip=rstrip or c == "<|assistant|>") for i, c in enumerate(
                ["<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"])])


def phi4():
    d = train_bytes(PHI4)
    merges_as(d, pairs=False)
    n = len(d["model"]["vocab"])
    d["pre_tokenizer"] = byte_level_split(PHI4, removed=True)
    d["post_processor"] = dict(BYTE_LEVEL, add_prefix_space=False)
    d["decoder"] = BYTE_LEVEL
    d["model"].update(continuing_subword_prefix="", end_of_word_suffix="")
    d["added_tokens"] = [added(n + i, c, lstrip=True, rstrip=True) for i, c in enumerate(
        ["<|dummy_0|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_sep|>"])]
    return d


def phi4_mini():
    d = train_bytes(PHI4_MINI)
    merges_as(d, pairs=True)
    n = len(d["model"]["vocab"])
    d["pre_tokenizer"] = byte_level_split(PHI4_MINI, removed=False)
    d["decoder"] = BYTE_LEVEL
    d["model"]["ignore_merges"] = True
    # ids with a hole, as the published one has it; the tokenizers package assigns ids itself, so the
    # hole is filled with a token that no text gives
    d["model"]["vocab"]["\u0143\u0143hole"] = n
    d["added_tokens"] = [added(n + 1 + i, c, rstrip=True, special=not c.startswith("<|tool")) for i, c
                         in enumerate(["<|endoftext|>", "<|assistant|>", "<|end|>", "<|user|>",
                                       "<|system|>", "<|tool|>"])]
    return d


def llama(metaspace, pairs):
    d = train_sentencepiece()
    merges_as(d, pairs)
    d["added_tokens"] = phi3_added(len(d["model"]["vocab"]), rstrip=metaspace)
    d["post_processor"] = BOS_TEMPLATE
    d["decoder"] = LLAMA_DECODER
    if metaspace:
        d["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first",
                              "split": False}
    else:
        d["normalizer"] = LLAMA_NORMALIZER
    return d


def quirks():
    """Rules that the family does not need today: no byte tokens for some bytes, unknown tokens not
    fused, normalized, single-word and overlapping added tokens, Metaspace that splits and decodes."""
    d = train_sentencepiece()
    merges_as(d, True)
    vocab = d["model"]["vocab"]
    for byte in ("<0xE4>", "<0xF0>"):
        vocab[byte + "gone"] = vocab.pop(byte)
    n = len(vocab)
    d["model"]["fuse_unk"] = False
    d["normalizer"] = {"type": "Replace", "pattern": {"String": "oo"}, "content": "u"}
    d["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    d["decoder"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    d["added_tokens"] = [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>", special=False, rstrip=True),
                         added(n, "foo", special=False, single_word=True, normalized=True),
                         added(n + 1, "foo bar", special=False, normalized=True),
                         added(n + 2, "end", special=False, single_word=True, lstrip=True),
                         added(n + 3, "<|", lstrip=True, rstrip=True),
                         added(n + 4, "<|end|>", rstrip=True), added(n + 5, "\n \n", special=False),
                         added(n + 6, "hello", special=False, normalized=True, lstrip=True)]
    return d


def gpt2():
    """ByteLevel alone, with its own split and a space in front."""
    d = train_bytes(PHI4)
    merges_as(d, pairs=True)
    d["pre_tokenizer"] = BYTE_LEVEL
    d["decoder"] = BYTE_LEVEL
    d["post_processor"] = {"type": "Sequence", "processors": [BYTE_LEVEL]}
    d["added_tokens"] = [added(len(d["model"]["vocab"]), "<|endoftext|>", normalized=True)]
    return d


# ---- cases --------------------------------------------------------------------------------------

def without_added(d):
    d = json.loads(json.dumps(d))
    d["added_tokens"], d["post_processor"] = [], None
    return Tokenizer.from_str(json.dumps(d))


def cases(name, d, seed, count, decodes, expression=None):
    control = [a["content"] for a in d["added_tokens"]][:8] + ["<|end|>"]
    t, plain = Tokenizer.from_str(json.dumps(d)), without_added(d)
    for a in d["added_tokens"]:
        assert t.token_to_id(a["content"]) == a["id"], a
    lines = []
    for text in texts(seed, count, sorted(set(control))):
        lines.append([text, plain.encode(text, add_special_tokens=False).ids,
                      t.encode(text, add_special_tokens=False).ids])
        if name != "phi3" and len(lines) % 9 == 0:
            lines[-1].append(t.encode(text).ids)
    r = random.Random(seed + 1)
    most = t.get_vocab_size()
    bytes_ = [i for c, i in sorted(t.get_vocab().items()) if c.startswith("<0x") or len(c) == 1]
    decoded = []
    for _ in range(decodes):
        kind = r.random()
        if kind < 0.3:
            ids = t.encode(random_text(r, control)).ids
        else:
            ids = [r.choice(bytes_) if r.random() < kind else r.randrange(most)
                   for _ in range(r.randint(0, 16))]
        decoded.append([ids, t.decode(ids, skip_special_tokens=True),
                        t.decode(ids, skip_special_tokens=False)])
    out = {"cases": lines, "decode": decoded}
    if expression is not None:
        out["expression"] = expression
        out["splits"] = splits(expression, seed + 2)
    write(name + ".cases.json", out)


def splits(expression, seed):
    """Texts and the bytes of each piece that the expression cuts them into."""
    split = pre_tokenizers.Split(tokenizers.Regex(expression), "isolated")
    r = random.Random(seed)
    all_texts = [random_text(r, ["<|end|>"]) for _ in range(150)]
    for chars in BY_CATEGORY.values():
        for c in [r.choice(chars) for _ in range(4)]:
            all_texts.append("%sa%sb A%s%sc'%s %s\n%s %s1'S%s'LL" % ((c,) * 9))
    return [[text, [len(piece.encode()) for piece, _ in split.pre_tokenize_str(text)]] for text in all_texts]


def write(name, d):
    """One item of each list a line."""
    def dump(x):
        return json.dumps(x, ensure_ascii=False, separators=(",", ":"))
    parts = ["%s:%s" % (dump(k), "[\n%s\n]" % ",\n".join(map(dump, v)) if isinstance(v, list) else dump(v))
             for k, v in d.items()]
    # U+2028 and the like are fine in JSON but not in every editor
    text = "{%s}\n" % ",\n".join(parts)
    text = "".join(c if c == "\n" or unicodedata.category(c) not in ("Zl", "Zp", "Cc", "Cf", "Co") else
                   json.dumps(c)[1:-1] for c in text)
    (OUT / name).write_text(text, encoding="utf-8")


# ---- chat ---------------------------------------------------------------------------------------

# The chat_template strings as published (several revisions of some), then the same in other clothes.
USER_OPENS = ("{% for message in messages %}{% if (message['role'] == 'user') %}{{'<|user|>' + '\n' + "
              "message['content'] + '<|end|>' + '\n' + '<|assistant|>' + '\n'}}{% elif "
              "(message['role'] == 'assistant') %}{{message['content'] + '<|end|>' + '\n'}}{% endif %}"
              "{% endfor %}")
EACH = ("{% for message in messages %}{% if message['role'] == 'system'SKIP %}{{'<|system|>\n' + "
        "message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\n' + "
        "message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + "
        "message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}")
ANY = ("{% for message in messages %}{{'<|' + message['role'] + '|>' + '\n' + message['content'] + "
       "'<|end|>\n' }}{% endfor %}")
SYSTEM_OPENS = ("{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'system') %}"
                "{{'<|system|>' + '\n' + message['content'] + '<|end|>' + '\n'}}{% elif "
                "(message['role'] == 'user') %}{{'<|user|>' + '\n' + message['content'] + '<|end|>' + "
                "'\n' + '<|assistant|>' + '\n'}}{% elif message['role'] == 'assistant' %}"
                "{{message['content'] + '<|end|>' + '\n'}}{% endif %}{% endfor %}")
PHI4_HEAD = ("{% for message in messages %}{% if (message['role'] == 'system') %}{{'<|im_start|>system"
             "<|im_sep|>' + message['content'] + '<|im_end|>'}}{% elif (message['role'] == 'user') %}"
             "{{'<|im_start|>user<|im_sep|>' + message['content'] + ")
MINI = ("{% for message in messages %}{% if message['role'] == 'system' and 'tools' in message and "
        "message['tools'] is not none %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|tool|>' "
        "+ message['tools'] + '<|/tool|>' + '<|end|>' }}{% else %}{{ '<|' + message['role'] + '|>' + "
        "message['content'] + '<|end|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}")
TEMPLATES = {
    "phi3": EACH.replace("SKIP", ""),
    "phi3.5": EACH.replace("SKIP", " and message['content']"),
    "phi3-medium": USER_OPENS,
    "phi3-first": "{{ bos_token }}" + USER_OPENS,
    "phi3-system": SYSTEM_OPENS,
    "phi3-small": "{{ bos_token }}" + ANY + "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}"
                  "{% else %}{{ eos_token }}{% endif %}",
    "phi3-vision": ANY + "{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}"
                   "{{- '<|assistant|>\n' -}}{% endif %}",
    "phi4": PHI4_HEAD + "'<|im_end|>'}}{% elif (message['role'] == 'assistant') %}{{'<|im_start|>"
            "assistant<|im_sep|>' + message['content'] + '<|im_end|>'}}{% endif %}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}",
    "phi4-first": PHI4_HEAD + "'<|im_end|><|im_start|>assistant<|im_sep|>'}}{% elif (message['role'] == "
                  "'assistant') %}{{message['content'] + '<|im_end|>'}}{% endif %}{% endfor %}",
    "phi4-mini": MINI,
}
# Escapes that a template file holds as two characters.
ESCAPED = {name: t.replace("\n", "\\n") for name, t in TEMPLATES.items()}
SPELLINGS = [(n, t) for n, t in TEMPLATES.items()] + [(n, t) for n, t in ESCAPED.items()] + [
    (n, t.replace("{% ", "{%- ").replace("'", '"').replace("message[\"role\"]", "message.role"))
    for n, t in ESCAPED.items()] + [
    (n, t.replace("{% ", "\n  {%- ").replace(" %}", " -%}\n    ")) for n, t in TEMPLATES.items()] + [
    (n, t.replace("{% ", "{%").replace("'", '"').replace("message[\"content\"]", "( message.content )"))
    for n, t in ESCAPED.items()] + [
    (n, "{#- a comment #}\n" + t + "\n") for n, t in ESCAPED.items()]
FOREIGN = [
    "", "{{ messages }}", "hello",
    TEMPLATES["phi3"].replace("message['content'] +", "message['content'] | trim +"),
    TEMPLATES["phi3"].replace("<|end|>", "</s>"),
    TEMPLATES["phi3"] + " ",
    TEMPLATES["phi3"].replace("'user'", "'human'"),
    TEMPLATES["phi4"].replace("add_generation_prompt", "not add_generation_prompt"),
    TEMPLATES["phi3-vision"].replace("!=", "=="), TEMPLATES["phi3-vision"].replace("-1", "1"),
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + "
    "'<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% endif %}",
    "{{ bos_token }}{% for m in messages %}[INST] {{ m['content'] }} [/INST]{% endfor %}",
    "{{ '", "{% if", "{#", "{{", "{%-", "{{ 'a\\",
]
SYSTEM = ["You are a helpful AI assistant.", "", "  spaces around \n", "Zeile\nzwei"]
USER = ["Can you introduce yourself?", "", " leading", "trailing ", "\n\nlines\n\n", "你好, wie geht's?",
        "a\tb", "x < y | z > w", "1 + 1 = ?\r\n", "🙂"]
ANSWER = ["I am phlox.", "", " Sure.\n- one\n- two\n", "ok"]


def conversations():
    r = random.Random(11)
    yield [("user", USER[0])]
    yield [("system", SYSTEM[0]), ("user", USER[0])]
    yield [("system", ""), ("user", "Hi")]
    yield [("user", ""), ("assistant", ""), ("user", "")]
    yield [("assistant", "first"), ("user", "second"), ("system", "third"), ("assistant", "fourth")]
    yield [("system", SYSTEM[0])]
    yield [("tool", "42"), ("user", "Hi")]
    yield [("user", "Hi"), ("User", "Hi")]
    yield [("", "nobody")]
    for _ in range(8):
        yield [(role, r.choice({"system": SYSTEM, "user": USER, "assistant": ANSWER}[role]))
               for role in (["system"] if r.random() < 0.5 else []) + ["user", "assistant"] * r.randint(0, 2)
               + ["user"]]
    for _ in range(6):
        yield [(role, r.choice({"system": SYSTEM, "user": USER, "assistant": ANSWER}[role]))
               for role in r.choices(["system", "user", "assistant"], k=r.randint(1, 5))]


def chat():
    t = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(llama(False, False))), bos_token="<s>",
        eos_token="<|endoftext|>")

    def render(template, messages, add):
        return t.apply_chat_template([{"role": a, "content": b} for a, b in messages], chat_template=template,
                                     tokenize=False, add_generation_prompt=add)
    all_messages = list(conversations())
    rendered = []
    for name, template in TEMPLATES.items():
        for messages in all_messages:
            for add in (False, True):
                rendered.append([name, messages, add, render(template, messages, add)])
    spellings = []
    for name, spelling in SPELLINGS:
        same = all(render(spelling, m, add) == render(TEMPLATES[name], m, add) for m in all_messages[:5]
                   for add in (False, True))
        assert same, spelling
        spellings.append([name, spelling])
    write("chat.json", {"spellings": spellings, "foreign": FOREIGN, "rendered": rendered})


def main():
    OUT.mkdir(exist_ok=True)
    made = {"phi4": phi4(), "phi4-mini": phi4_mini(), "llama": llama(False, False),
            "llama-metaspace": llama(True, True), "quirks": quirks(), "gpt2": gpt2()}
    for i, (name, d) in enumerate(made.items()):
        d["version"] = "1.0"
        model = d.pop("model")
        d["model"] = model
        (OUT / (name + ".tokenizer.json")).write_text(
            json.dumps(d, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
        cases(name, d, 100 + i, 100, 60, {"phi4": PHI4, "phi4-mini": PHI4_MINI}.get(name))
    chat()
    if (REAL / "tokenizer.json").exists():
        cases("phi3", json.loads((REAL / "tokenizer.json").read_text(encoding="utf-8")), 7, 450, 200)


if __name__ == "__main__":
    main()
