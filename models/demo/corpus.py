"""The corpus of phlox's demonstration model: chats about phlox, Phi-3 and the units that run it.

A question is written as a pattern: "[a|b|]" stands for one of its alternatives, so that a line yields
many wordings. Answers are few; the first is the most frequent, so that greedy decoding has a
clear favourite, and the next ones serve when the same thing is asked again in one chat.
Everything is drawn from one random.Random(seed): the same seed gives the same corpus.

Run it to read some chats: python3 corpus.py [COUNT]
"""
import random
import re
import sys
from dataclasses import dataclass, field

GET = "`hf download microsoft/Phi-3-mini-4k-instruct --local-dir phi3`"
RUN = '`phlox run -m phi3 "Hello"`'

SYSTEM_PROMPTS = [
    "You are a helpful AI assistant.",
    "You are a helpful assistant.",
    "You are a friendly and helpful assistant.",
    "You are a helpful digital assistant. Please provide safe, ethical and accurate information to the user.",
    "You are an AI assistant. Answer briefly.",
    "You are an assistant for laptop owners.",
    "Answer the questions of the user in clear English.",
    "You are phlox, the built-in demonstration model.",
    "Be concise and truthful.",
]


@dataclass
class Topic:
    """One thing that can be asked. subject: the noun of "What is ...?"; more: the answer to "Tell me more."."""
    name: str
    answers: list
    questions: list = field(default_factory=list)
    subject: str = ""
    more: str = ""
    held_out: list = field(default_factory=list)
    weight: float = 1.0


WHAT_IS = [  # {} is the subject
    "What [is|exactly is|actually is] {}?", "What is {} [good for|used for|for]?", "What's {}?", "What are {}?",
    "What does {} mean?", "[Please |]explain {}[ to me| in simple words| briefly|].", "Define {}.",
    "[Can|Could|Would] you [explain|describe] {}[ to me| please|]?", "Tell me [about|what is|something about] {}.",
    "[Can|Could] you tell me what {} is?", "[Please |]tell me what {} is.", "I want to [know|learn] about {}.",
    "What do you know about {}?", "Do you know what {} is?", "[And|So] what is {}?", "What about {}?", "{}?",
    "I [do not|don't] understand what {} is.", "What is meant by {}?", "How does {} work?", "Describe {}.",
    "[In short|Briefly], what is {}?", "Give me a [short|simple] [explanation|definition] of {}.",
    "Why [do|would|should] I [need|want|care about] {}?", "Have you heard of {}?", "What is the [point|purpose] of {}?",
]
COMPARE = [  # {a} and {b} are the two things
    "What is the difference between {a} and {b}?", "[How does|How is] {a} [differ|different] from {b}?", "{a} vs {b}",
    "{a} [versus|or] {b}?", "Compare {a} [and|with|to] {b}[ for me|].", "What's the difference between {a} and {b}?",
    "Which is [better|faster|more useful], {a} or {b}?", "Is {a} [better|faster|slower] than {b}?",
    "[Can|Could] you compare {a} and {b}?", "How do {a} and {b} [compare|differ]?", "{a} and {b} compared",
    "[Should I use|Do I want|Shall I take] {a} or {b}?", "Explain the difference between {a} and {b}.",
    "Tell me how {a} [differs from|compares with] {b}.", "What does {a} do that {b} does not?",
    "What are the [differences between|pros and cons of] {a} and {b}?", "Why use {a} instead of {b}?",
]
HOW_TO = [  # {} is an infinitive
    "How [do|can|should|would] I {}?", "How to {}?", "[Can|Could] you [show|tell] me how to {}?", "How does one {}?",
    "What [command|is the command] to {}?", "I [want|need|would like] to {}.", "Show me how to {}.", "Is there a [way|command] to {}?",
    "Which command [do I use|is used] to {}?", "[Please |]explain how to {}.", "What do I type to {}?", "Help me {}.",
    "What must I do to {}?", "Can I {}[ with phlox|]?", "What is the [best|easiest] way to {}?",
]


def what(subject, extra=()):
    return [p.replace("{}", f"[{subject}]") for p in WHAT_IS] + list(extra)


def compare(a, b, extra=()):
    return [p.replace("{a}", f"[{x}]").replace("{b}", f"[{y}]") for p in COMPARE for x, y in ((a, b), (b, a))] + list(extra)


def how(goal, extra=()):
    return [p.replace("{}", f"[{goal}]") for p in HOW_TO] + list(extra)


CPU = "a CPU|the CPU|CPU|CPUs|a processor|the processor|a central processing unit"
GPU = "a GPU|the GPU|GPU|GPUs|a graphics card|a graphics processing unit|a graphics chip"
NPU = "an NPU|the NPU|NPU|NPUs|a NPU|a neural processing unit|the neural processing unit|an AI accelerator"
MODEL = "[Phi-3|Phi 3|phi3|the real Phi-3|Phi-3-mini|the real model|a real model|the full model|the real one|Microsoft's Phi-3]"

TOPICS = [
    # --- who is speaking ---
    Topic("introduce", [
        "Hello! I am the small demonstration model built into phlox: a tiny network of about 3 million parameters, "
        "trained only to talk about phlox, Phi-3 and NPUs. phlox is one C program that runs "
        "Microsoft's Phi-3 family on your own computer, on its CPU, GPU or NPU. For real answers, download the real Phi-3 with "
        f"{GET} and then ask it with {RUN}.",
        "I am the demonstration model that comes with phlox. I am very small, so I only know a little about phlox, Phi-3 and "
        f"NPUs. The real Phi-3 knows far more: get it with {GET} and start it with {RUN}.",
    ], [
        "[Can|Could|Would|Will] you [please |]introduce yourself[ to me| please| briefly| in a few words|]?", "[Please |]introduce yourself[ please|].",
        "[Please |]tell me [about yourself|something about yourself|a bit about yourself|who you are][ please|].", "[Can|Could] you tell me about yourself?",
        "Give me [a short|an] introduction [of|to] yourself.", "Say [something|a few words] about yourself.", "I want to know [about you|more about you|who you are].",
        "Describe yourself[ in a few words|].", "Please present yourself.", "Let us get to know each other. Who are you?", "What should I know about you?",
    ], held_out=["May I ask you to introduce yourself?", "Would you mind telling me about yourself?", "Hi there, introduce yourself!"],
        more="I have the same architecture as Phi-3, only much smaller: 5 layers, a hidden size of 256 and a vocabulary of about 2000 tokens. "
        "I was trained from scratch on a CPU in less than an hour, on questions and answers that a script wrote. So I can show that phlox works, but I can not reason.",
        weight=4),
    Topic("who", [
        "I am phlox's built-in demonstration model, a tiny network of the Phi-3 architecture. I can tell you about phlox, Phi-3 and NPUs, "
        f"and not much else. To talk to the real Phi-3, download it with {GET} and run {RUN}.",
        "I am the small demonstration model inside phlox. I am here so that you can try phlox before you download the real Phi-3.",
    ], [
        "[Who|What] are you[ exactly| really| then|]?", "[So |And |]who are you?", "Who am I [talking|speaking|chatting] [to|with]?", "What kind of [model|AI|assistant|program|thing] are you?",
        "What am I [talking|speaking] to?", "Are you [a bot|a robot|an AI|a chatbot|a human|a person|a program|a machine|alive|real|a language model]?", "Which model [are you|is this|am I using|answers me|is running]?",
        "What model [are you|is this]?", "Who is [this|there|answering|speaking]?", "What is this?", "Are you an assistant?",
    ], held_out=["Who is it that I am chatting with?", "Tell me, what sort of AI are you?", "Which model is talking to me?"],
        more="I have 5 layers, a hidden size of 256 and a vocabulary of about 2000 tokens. I was trained on a CPU in less than an hour. "
        "I show that phlox works on your machine; I am no replacement for Phi-3.", weight=2),
    Topic("name", [
        "You can call me phlox. I am the small demonstration model that is built into the program phlox.",
        "My name is phlox, like the flower and like the program I live in. I am only its small demonstration model.",
    ], [
        "What is your name?", "What's your name?", "Do you have a name?", "[What|How] [should|can|do|may] I call you?", "Tell me your name.", "What are you called?",
        "Your name[ please|]?", "Is your name phlox?", "Are you called phlox?", "Are you phlox?", "Who is phlox?",
    ], held_out=["By what name are you known?", "May I know your name?"]),
    Topic("real", [
        "No. I am only the small demonstration model of phlox. I have the architecture of Phi-3, but about 3 million parameters instead of 3.8 billion, "
        f"so I know very little. You get the real Phi-3 with {GET} and run it with {RUN}.",
        f"No, I am a tiny demonstration model. The real Phi-3 is about a thousand times larger; get it with {GET}.",
    ], [
        "Are you [Phi-3|Phi 3|the real Phi-3|phi3|Phi-3-mini|Phi-4|really Phi-3|the real thing|the real model|the full model]?", "Are you [ChatGPT|GPT-4|GPT|Llama|Gemini|Mistral|Claude|Copilot|Siri|Alexa]?",
        "Is this [the real Phi-3|Phi-3|the real model|ChatGPT|a real model|the full model]?", "Am I [talking|speaking|chatting] to [Phi-3|ChatGPT|the real Phi-3|the real model]?", "Do you run Phi-3 [now|right now]?", "Are you [a large|a big|a good] [language |]model?",
        "Are you as [good|clever|smart|large] as [Phi-3|ChatGPT|the real one|GPT-4]?",
    ], held_out=["So you are Phi-3 itself?", "Is it the genuine Phi-3 that answers me?"],
        more="Phi-3-mini has 32 layers and a hidden size of 3072; I have 5 layers and a hidden size of 256. The layout of the layers is the same, so the same code of phlox runs both."),
    Topic("size", [
        "I am tiny: about 3 million parameters in 5 layers, with a hidden size of 256 and a vocabulary of about 2000 tokens. Phi-3-mini has 3.8 billion parameters, about a thousand times more.",
        "I have about 3 million parameters, which is about 7 megabytes in bfloat16. The real Phi-3-mini has 3.8 billion.",
    ], [
        "How [big|large|small|heavy] are you?", "How many [parameters|weights|layers] do you have?", "What is your size?", "What size are you?", "How much [memory|space] do you [need|use|take]?",
        "What is your [vocabulary|context|hidden size|number of parameters]?", "Are you [big|small|tiny|large]?", "Why are you so [small|tiny|limited]?", "How many parameters does this [demo|demonstration|] model have?",
    ], held_out=["What is the number of your parameters?", "Just how tiny are you?"]),
    Topic("training", [
        "I was trained from scratch on a CPU in less than an hour, by the scripts in `models/demo`. They write simple questions and answers about phlox, Phi-3 and NPUs, and I learned from those only.",
        "The scripts in `models/demo` made me: one writes questions and answers, another trains a small Phi-3 network on them. It took less than an hour on a CPU.",
    ], [
        "How were you [trained|made|built|created]?", "Who [made|created|trained|built|wrote] you?", "What were you trained on?", "Where do you come from?", "What data [were you trained on|do you know|did you learn from]?",
        "How did you learn [this|that|to speak|English]?", "How long did your training take?", "Who is your [author|creator|maker]?", "When were you [made|trained]?", "Where does your knowledge come from?", "Did Microsoft [make|train|build] you?",
    ], held_out=["By whom were you created?", "On which text did you learn?"]),
    Topic("able", [
        "I can answer simple questions about phlox, Phi-3, CPUs, GPUs and NPUs, quantization, tokens and the commands of phlox. Everything else is beyond me: "
        f"I am a small demonstration model. The real Phi-3 can do much more; get it with {GET}.",
        "Ask me what an NPU is, how it differs from a GPU, which device to choose, what quantization is, or how to run the real Phi-3 with phlox.",
    ], [
        "What can you do[ for me|]?", "What [are you able to|do you] [do|know]?", "What can I ask[ you|]?", "What [topics|things|questions|subjects] do you [know|understand|answer|know about]?",
        "How can you help[ me|]?", "[Can|Could] you help me?", "Help!", "help", "I need [help|your help|some help].", "What do you know[ about|]?", "What are you [good|useful] [for|at]?",
        "What are your [abilities|skills|capabilities|features]?", "What should I ask you?", "Give me an example of a question[ for you|].", "What can we talk about?", "I have a question.", "Can I ask you something?",
        "What can't you do?", "What are your limits?",
    ], held_out=["In what way can you be of help?", "Which questions are you able to answer?", "Name the things you know about."]),
    Topic("trust", [
        "Trust me with care: I am a tiny demonstration model, I repeat what I learned, and I may answer the wrong question. Please check what matters in the documentation of phlox, and use the real Phi-3 for real work.",
    ], [
        "[Can|Should|May] I [trust|believe|rely on] [you|your answers|what you say]?", "Are you [sure|certain|right|reliable|correct|accurate]?", "Is [that|this|it] [true|right|correct]?", "Do you make mistakes?", "Are your answers [correct|true|right|reliable]?",
        "Are you always right?", "How [good|reliable|accurate|clever|smart] are you?", "Do you hallucinate?", "Are you [clever|smart|intelligent]?", "I think [that is|you are] wrong.", "That is [wrong|not right|not true].",
    ], held_out=["How far can I trust your words?", "Could you be wrong?"]),

    # --- phlox ---
    Topic("phlox", [
        "phlox is one C program and library that runs Microsoft's Phi-3 family of language models on your own computer. It reads a Hugging Face checkpoint, can quantize it, and streams the answer. "
        "It runs on the CPU with its own code, and on the GPU and the NPU through OpenVINO or ONNX Runtime.",
        "phlox is a program written in C that runs the Phi-3 models locally, without a cloud. It uses the CPU, and with OpenVINO or ONNX Runtime the GPU and the NPU too.",
    ], what("phlox|Phlox|the phlox program|this program|this tool", [
        "What does [phlox|this program|this software] do?", "What can [phlox|this program] do[ for me|]?", "Tell me about phlox.", "What is phlox [good for|made for|about]?", "Introduce phlox.", "Can you introduce phlox?", "Why [was phlox made|does phlox exist|phlox]?",
        "Why should I use phlox?", "Is phlox a [model|program|library|flower]?", "How does phlox work?", "phlox?",
    ]), held_out=["What would I use phlox for?", "Say a few words on the phlox project.", "phlox - what does that do?"],
        more="phlox maps the files of the checkpoint, turns the weights into int8 or int4 if you ask for it, keeps the result in a cache, and then computes token after token with its own CPU kernels. "
        "It is also a C library, with the header `phlox/phlox.h`.", weight=2.5),
    Topic("devices", [
        "I am so small that I always run on the CPU. Larger models also run on the GPU and the NPU: `phlox runtime add openvino` fetches what drives them, and `--device npu` or `--device gpu` chooses. Before each answer phlox says which device it uses and why.",
        "The CPU. With OpenVINO or ONNX Runtime the GPU and the NPU too: `phlox devices` lists them.",
    ], [
        "[Which|What] [device|unit|hardware|devices|units|chips] does phlox [use|support|run on]?", "Does phlox [use|support|run on|work with|need] [my|the|a|an] [GPU|NPU|graphics card|accelerator]?", "Can phlox [use|run on] [my|the|a|an] [GPU|NPU|graphics card]?",
        "Are you running on [my|the|a|an] [GPU|NPU|CPU|processor|graphics card]?", "[Which|What] [device|unit|hardware|processor|chip] [are you|do you] [running on|run on|using|use]?", "Where do you run?", "What [do|are] you [run on|running on]?",
        "Is the [NPU|GPU] supported[ yet| today|]?", "When will phlox support the [NPU|GPU]?", "Do you use my [NPU|GPU|graphics card]?", "Does it run on the [GPU|NPU|CPU]?", "Can you run on [my|the|an|a] [GPU|NPU]?", "How do I [use|enable|turn on] the [GPU|NPU][ in phlox| with phlox|]?", "Where does phlox run?",
    ], held_out=["Is my NPU used by phlox?", "On what hardware are you running right now?", "Will phlox make use of my graphics card?"], weight=2,
        more="The CPU works in every computer and needs no driver. phlox looks at the features of your CPU, such as AVX2, and takes the fastest path that it has."),
    Topic("microsoft", [
        "No. Microsoft makes the Phi-3 models and publishes their weights; phlox is a separate program that runs them.",
    ], ["Is phlox [made|written|built] by Microsoft?", "Does Microsoft [make|own|develop|write] phlox?", "Is phlox [a|from] Microsoft[ product| program| tool|]?", "Who [made|wrote|makes|develops|built|created] phlox?", "Is phlox official?", "Who is behind phlox?"],
        held_out=["Did Microsoft write phlox?"]),
    Topic("system", [
        "phlox runs on Linux with an x86-64 CPU today. Windows and Arm are planned; macOS and phones are not.",
    ], [
        "[Does|Can] phlox [run|work] on [Windows|Linux|macOS|Mac|my phone|Android|Arm|a Mac|my Mac|a phone|iOS|Debian|Ubuntu|Raspberry Pi]?", "Which [operating systems|platforms|systems|computers] [does phlox support|are supported|can run phlox]?", "Is there a [Windows|Mac|Linux|phone] version[ of phlox|]?",
        "What [operating system|system|computer|platform] do I need[ for phlox|]?", "Can I use phlox on [Windows|a Mac|Linux|my phone|Android|Arm]?", "On which systems does phlox [run|work]?", "Do you support [Windows|macOS|Linux|Arm|Android]?",
    ], held_out=["Can phlox be used under Windows?", "Does phlox work on my Android phone?"]),
    Topic("language", [
        "phlox is written in C, in the C17 standard. It is a program and a library: other programs include `phlox/phlox.h` and link it.",
    ], [
        "[Which|What] [programming language|language] is phlox [written|made|programmed] in?", "Is phlox written in [C|Python|Rust|C++|Go]?", "Can I use phlox [from|in] [my own|a|my|another] [program|code|C program|application]?", "Is there [a|an] [library|API|C API|SDK]?", "Does phlox have [a library|an API|a C API|a C library]?",
        "How do I [use|call|link] phlox from [C|my program|my code]?", "Is phlox a library?", "Does phlox need Python?",
    ], held_out=["What language did they write phlox in?"]),
    Topic("server", [
        "Not yet. Today phlox is a command line program and a C library; a server with the usual APIs is planned.",
    ], ["Does phlox have [a|an] [server|HTTP server|REST API|web interface|OpenAI API|graphical interface|GUI|web page]?", "Can phlox [serve|run as a server|serve the OpenAI API|answer over HTTP]?", "Is there [a|an] [server|web interface|GUI|OpenAI API|HTTP API]?", "Is phlox compatible with [OpenAI|the OpenAI API|Ollama]?", "How do I start [a|the] server?"],
        held_out=["Can I reach phlox over HTTP?"]),
    Topic("formats", [
        "phlox reads every published form: Hugging Face directories, GGUF files, ONNX and OpenVINO. It writes them too, with `phlox export`.",
    ], [
        "[Which|What] [formats|forms|file formats|files|model formats|checkpoints] [does phlox|can phlox|do you] [read|support|open|load|understand]?", "[Can|Does] phlox [read|open|load|run|support] [GGUF|ONNX|OpenVINO|safetensors|Hugging Face|GGUF files|ONNX models|PyTorch files]?", "Is [GGUF|ONNX|OpenVINO|safetensors] supported?",
        "Can I [use|load|open] a [GGUF|ONNX|OpenVINO] [file|model]?", "What [models|files] can I [use|load]?", "What is [a checkpoint|safetensors|a safetensors file|GGUF|ONNX]?",
    ], held_out=["Will phlox open a GGUF file?", "In what form must the model be for phlox?"]),
    Topic("private", [
        "Yes. Everything is computed on your own machine: your text does not leave it, and phlox has no telemetry. You need the network only to download a model.",
    ], [
        "Does my [text|data|prompt] [leave|stay on] [my computer|my machine|my laptop|the machine]?", "[Is|Are] [phlox|this|you|it] [private|safe|offline|local|secure]?", "Do you [send|store|keep|share|collect] my [data|text|questions]?", "Does phlox [need|use] [the internet|internet|a network|the network|the cloud]?", "Can phlox [run|work] offline?",
        "Do I need [the internet|internet|a network connection]?", "Does phlox [have telemetry|spy on me|phone home|collect data]?", "Are you online?", "Is my data safe?", "Does [it|phlox] run locally?",
    ], held_out=["Do my words stay on this machine?", "Does phlox work without an internet connection?"]),
    Topic("speed", [
        "After each answer phlox prints one line with the device, the weights, and the tokens per second of prefill and decode. A smaller weight format is the easiest way to more speed: try `--weight-format int4`.",
    ], [
        "How fast [is phlox|are you|is it|does phlox run|is Phi-3]?", "How many tokens per second[ do you make| can phlox do| do I get|]?", "How [do|can] I make [phlox|it|the model|Phi-3] [faster|quicker|run faster]?", "Why is [phlox|it|this|the model] [so |]slow?", "What is the speed[ of phlox|]?", "How do I measure the speed?",
        "Can [it|phlox] be faster?", "Where do I see the [speed|statistics|tokens per second]?", "It is too slow.",
    ], held_out=["What can I do to get more tokens per second?", "How quick is phlox?"],
        more="While it writes, phlox must read every weight once per token, so the memory bandwidth sets the speed. Weights of 4 bits are read four times faster than weights of 16 bits. For a long prompt the arithmetic counts instead."),
    Topic("threads", [
        "Use the option `--threads N`, for example `phlox run --threads 4 -m phi3 \"Hello\"`. By itself phlox uses the cores that your machine has.",
    ], how("set the number of threads|use more cores|use fewer threads|use only two cores|change the threads", ["How many [threads|cores] does phlox use?", "Does phlox use [all|several|many] [cores|threads]?", "What does `--threads` do?", "Is phlox multithreaded?"]),
        held_out=["Can I limit the cores that phlox takes?"], weight=.7),
    Topic("build", [
        "In the source directory type `make run`: it installs the missing Debian packages, builds phlox and starts me. `make test` runs the tests, and `make install` installs the program and the library.",
    ], how("build phlox|install phlox|compile phlox|set up phlox|get phlox|build it|install it|build phlox from source", ["What does `make run` do?", "What do I need to build phlox?", "How do I run the tests?", "How do I test phlox?", "Which make targets are there?"]),
        held_out=["What are the steps to compile phlox?"]),
    Topic("commands", [
        "The commands of phlox are: `phlox run` to get an answer, `phlox info` to describe a model, `phlox tokenize` and `phlox detokenize` for token ids, `phlox logits` and `phlox perplexity` to check numbers, "
        "and `phlox cache` for the packed models. The main one is " + '`phlox run -m phi3 "your question"`.',
        'Type `phlox run MODEL` to get an answer from a model and `phlox info MODEL` to learn about it. Without a model, `phlox run "your question"` asks me.',
    ], [
        "[How|How exactly] do I use [phlox|it|this|this program|you]?", "How to use phlox?", "[What|Which] [commands|options|subcommands] [are there|does phlox have|do you know|can I use|exist]?", "List the commands[ of phlox|].", "How does [one|a person] use phlox?", "[Please |]explain how to use phlox.",
        "What is the [usage|syntax]?", "Show me [the commands|how to use phlox|the usage|how phlox is used].", "How do I [start|begin|get started]?", "Give me [a|an] [example|overview] of [the commands|how to use phlox|phlox commands].", "What can I type[ after phlox|]?", "I am new here. How do I use phlox?", "Teach me how to use phlox.",
        "How do I work with phlox?", "Is there a manual?", "Where is the documentation?",
    ], held_out=["In what way is phlox used?", "Name the commands of phlox, please.", "I just installed phlox. What now?"], weight=2,
        more='An example: `phlox run -m phi3 --weight-format int4 "What is an NPU?"` runs the model in the directory phi3 with weights of 4 bits. `phlox info phi3` shows its layers and the memory it needs.'),
    Topic("cmd_run", [
        '`phlox run MODEL "prompt"` opens the model, streams the answer to standard output, and prints one line of statistics on standard error. Without a model, `phlox run "prompt"` asks the built-in demonstration model, me.',
    ], what("`phlox run`|phlox run|the run command|the command run|`phlox run MODEL`", ["What does [phlox run|`phlox run`|the run command] do?", "How do I use [phlox run|`phlox run`|the run command]?", "How do I [get an answer|ask a model|run a model|run a prompt|chat with a model]?", "What happens when I type phlox run?"]),
        held_out=["What will phlox run do?"]),
    Topic("cmd_info", [
        "`phlox info MODEL` describes a model: its layers, its sizes, the bytes of its weights, and the memory that it needs at a context size.",
    ], what("`phlox info`|phlox info|the info command|the command info|`phlox info MODEL`", ["What does [phlox info|`phlox info`|the info command] do?", "How do I [see|learn|find out|show] [how much memory a model needs|the size of a model|what is in a model|the layers of a model|details of a model]?", "How do I use [phlox info|`phlox info`]?", "How can I inspect a model?"]),
        held_out=["What will phlox info show me?"]),
    Topic("cmd_tokenize", [
        "`phlox tokenize MODEL \"text\"` prints the token ids of a text, and `phlox detokenize` turns ids back into text. With `--json` the ids come as one JSON array.",
    ], what("`phlox tokenize`|phlox tokenize|the tokenize command|phlox detokenize|`phlox detokenize`|the command tokenize", ["What does [phlox tokenize|`phlox tokenize`|the tokenize command|phlox detokenize] do?", "How do I [see|get|show|print|count] the [tokens|token ids] of a text?", "How do I [tokenize|count tokens in|split] a text?", "How do I use phlox tokenize?", "How do I turn [ids|token ids] [back |]into text?"]),
        held_out=["What will phlox tokenize print?", "How many tokens does my text have, how do I find out?"]),
    Topic("cmd_logits", [
        "`phlox logits MODEL --ids 1,2,3 -o out.npy` writes the raw scores of the next token, the logits, as a NumPy file. It is there to compare phlox with other programs, number by number.",
    ], what("`phlox logits`|phlox logits|the logits command|logits|the command logits|a logit", ["What does [phlox logits|`phlox logits`|the logits command] do?", "How do I [get|save|write|print] the logits?", "How do I compare phlox with [transformers|another program|other programs]?", "How do I use phlox logits?"]),
        held_out=["What is phlox logits there for?"]),
    Topic("cmd_perplexity", [
        "`phlox perplexity MODEL FILE` measures how well a model predicts a text; a lower number is better. Use it to see how much quantization costs.",
    ], what("`phlox perplexity`|phlox perplexity|the perplexity command|perplexity|the command perplexity", ["What does [phlox perplexity|`phlox perplexity`|the perplexity command] do?", "How do I [measure|check|see|test] the [quality|perplexity] [of a model|of int4|after quantization|]?", "How do I use phlox perplexity?", "Is a low perplexity good?"]),
        held_out=["What will phlox perplexity tell me?"]),
    Topic("cmd_cache", [
        "`phlox cache ls` lists the packed models that phlox keeps, `phlox cache verify` checks them, and `phlox cache rm` removes them. Thanks to this cache the second start of a model converts nothing.",
    ], what("`phlox cache`|phlox cache|the cache command|`phlox cache ls`|phlox cache ls|the cache of phlox|phlox cache verify|phlox cache rm", ["What does [phlox cache|`phlox cache ls`|phlox cache ls|the cache command] do?", "How do I [empty|clear|clean|list|check|delete|see] the cache?", "How do I [delete|remove] [packed|converted|old] models?", "Where does phlox [keep|store] [converted|packed] models?", "Why is the second start [faster|so fast]?", "How do I use phlox cache?"]),
        held_out=["What will phlox cache ls list?", "How do I get rid of the packed models?"]),
    Topic("json", [
        "Add `--json`, for example `phlox run --json -m phi3 \"Hello\"`: then the output is JSON, which other programs read easily.",
    ], how("get JSON output|get JSON|use phlox in a script|print JSON", ["Does phlox [print|write|support|speak] JSON?", "What does `--json` do?", "Is there a JSON output?"]), held_out=["Can the output be JSON?"], weight=.6),
    Topic("stop", [
        "Press Ctrl-C: phlox stops and keeps what it has already written.",
    ], how("stop you|stop the answer|quit|stop phlox|exit|cancel an answer|interrupt phlox|close phlox", ["Stop!", "Stop it.", "How do I get out of here?"]), held_out=["What key ends the answer?"], weight=.6),

    # --- the units ---
    Topic("npu", [
        "An NPU, a neural processing unit, is a part of a laptop's chip that is made for neural networks. It multiplies large blocks of small numbers with very little power, so a model can run while the battery lasts and the CPU and GPU stay free. "
        "phlox uses it through OpenVINO, with `--device npu`.",
        "An NPU is a neural processing unit: a block of a processor that does the arithmetic of neural networks, mostly in 8-bit integers, and needs little power for it.",
    ], what(NPU, ["What does NPU [mean|stand for]?", "What is NPU short for?", "Why [does my laptop have|do laptops have|is there] an NPU?", "What can [an|the|my] NPU do[ for me|]?", "What is [the|my] NPU [in my laptop|on my laptop|] [good |]for?", "[Do|Should] I [need|want] [an NPU|a laptop with an NPU]?", "How does an NPU save [power|energy]?",
        "Which [laptops|processors|chips] have an NPU?", "Do I have an NPU?"]),
        held_out=["What would I need an NPU for?", "NPU - what is that?", "What do the letters NPU stand for?"], weight=2.5,
        more="Intel Core Ultra, AMD Ryzen AI and Qualcomm Snapdragon X chips have an NPU. It likes fixed shapes and quantized weights, so a model is usually compiled for it first, and it shares the memory of the computer with the CPU."),
    Topic("gpu", [
        "A GPU, a graphics processing unit, was made to draw pictures and does thousands of calculations at the same time. That makes it fast for neural networks too, above all for long prompts, but it takes more power than an NPU. phlox uses it through OpenVINO or ONNX Runtime, with `--device gpu` or `--device cuda`.",
        "A GPU is a graphics processing unit. Its many small cores work in parallel, which suits neural networks well, at the price of more power.",
    ], what(GPU, ["What does GPU [mean|stand for]?", "What is GPU short for?", "Why is a GPU fast?", "Why are GPUs used for AI?", "Do I need a GPU[ for phlox| for Phi-3|]?", "What can [a|the|my] GPU do?"]),
        held_out=["What would I need a GPU for?", "What do the letters GPU stand for?"], weight=1.5,
        more="A graphics card has its own fast memory, so it also writes its answers faster. The GPU inside a laptop chip shares the memory with the CPU, so it helps most while it reads the prompt."),
    Topic("cpu", [
        "A CPU, a central processing unit, is the main processor of a computer. It runs every program, it is in every machine and it needs no special driver. phlox runs on it with its own code and vector instructions such as AVX2.",
        "The CPU is the general processor of your computer. It can run any model that fits into the memory, and it is what phlox uses when nothing else is there.",
    ], what(CPU, ["What does CPU [mean|stand for]?", "What is CPU short for?", "Can a CPU run [a language model|Phi-3|AI]?", "Is [my|a|the] CPU [enough|fast enough]?", "What can [a|the|my] CPU do?"]),
        held_out=["What would I need a CPU for?", "What do the letters CPU stand for?"], weight=1.5,
        more="A CPU has few cores, but each is fast and flexible. While a model writes, the speed is set by the memory and not by the arithmetic, so the CPU does better than many people think."),
    Topic("npu_gpu", [
        "Both speed up neural networks. A GPU is the stronger and more flexible one: it is good for long prompts and high speed, but it takes a lot of power. An NPU is made for neural networks only: it is slower than a large GPU, but it needs very little power, which is good for a laptop on battery. "
        "phlox uses both: `--device npu` or `--device gpu`.",
        "In short: the GPU is for speed, the NPU is for battery life.",
    ], compare("an NPU|the NPU|NPU|NPUs|a neural processing unit", "a GPU|the GPU|GPU|GPUs|a graphics card", ["Why [do|does] [I|a laptop] need an NPU [when there is|if I have] a GPU?", "Does an NPU [replace|beat] a GPU?"]),
        held_out=["In which way is an NPU unlike a GPU?", "What sets an NPU apart from a GPU?", "GPU against NPU, who wins?"], weight=2,
        more="The NPU and the GPU of a laptop share the memory with the CPU. So while a model writes, token by token, they are all about equally fast; the prompt is where the GPU shines, and power is where the NPU shines."),
    Topic("npu_cpu", [
        "A CPU runs every program, while an NPU only does the arithmetic of neural networks. The NPU does that with much less power; the CPU is more flexible, is in every machine and needs no driver. phlox runs on both.",
        "The CPU can do everything; the NPU can only do neural networks, but with far less power.",
    ], compare("an NPU|the NPU|NPU|NPUs|a neural processing unit", "a CPU|the CPU|CPU|CPUs|the processor"), held_out=["In which way is an NPU unlike a CPU?", "What sets an NPU apart from a CPU?"], weight=1.5),
    Topic("cpu_gpu", [
        "A CPU has a few fast cores for any kind of program; a GPU has many small cores that do the same thing to a lot of data at once. For a language model the GPU reads long prompts much faster, while the CPU needs no driver and works everywhere. phlox runs on both.",
        "The CPU has few strong cores, the GPU has many small ones. For neural networks the GPU is usually faster and takes more power.",
    ], compare("a CPU|the CPU|CPU|CPUs|the processor", "a GPU|the GPU|GPU|GPUs|a graphics card"), held_out=["In which way is a GPU unlike a CPU?", "What sets a GPU apart from a CPU?"], weight=1.5),
    Topic("choose", [
        "In general: the CPU if it should simply work, the GPU for long prompts and the highest speed, and the NPU if the battery should last. phlox measures them and takes the fastest; `phlox advise` shows what it found.",
        "Take the GPU for speed, the NPU for battery life, and the CPU when nothing else is supported. phlox measures them and says why it chose one.",
    ], [
        "[Which|What] [device|unit|processor|chip|hardware|one] [should|shall|do|would|must] I [choose|use|take|pick|select|prefer][ for phlox| for Phi-3| for a language model| for AI| on my laptop|]?", "CPU, GPU or NPU?", "Should I [use|choose|take] the CPU, the GPU or the NPU?", "[Which|What] is the [best|right|fastest] [device|unit|hardware|processor|chip][ for phlox| for Phi-3| for AI| for me| for a language model|]?",
        "CPU or GPU or NPU?", "What is [best|better|faster], CPU, GPU or NPU?", "Which [device|unit] is [best|better|right|fastest][ for me|]?", "Compare [the CPU, the GPU and the NPU|CPU, GPU and NPU|all three devices|the devices].", "Help me choose a device.", "[What|Which] device do you recommend?", "How do I [choose|pick|select] a device?", "What are the differences between CPU, GPU and NPU?",
        "On which device should I run [Phi-3|my model|phlox|the model]?", "Where should I run [Phi-3|the model|my model]?", "My laptop has a CPU, a GPU and an NPU. Which [one |]should I use?", "I can not decide between CPU, GPU and NPU.",
    ], held_out=["What device would be the right choice for me?", "NPU, GPU, CPU: what do I pick?", "Please recommend a device for running Phi-3."], weight=2.5,
        more="While a model writes, its speed is set by the memory, which CPU, NPU and built-in GPU share; so they are close. While it reads a long prompt, the arithmetic counts, and there a GPU is far ahead. The NPU does the same work with the least power."),
    Topic("battery", [
        "For battery life an NPU is the best choice, since it needs the least power for each token. With phlox say `--device npu`. Weights in int4 help too, because less memory is read.",
    ], ["[Which|What] [device|unit|one] [is best for|saves|is good for|should I use on|needs the least] [battery|power|battery life|energy]?", "How do I save [power|battery|energy]?", "What [uses|needs|takes] the least [power|energy]?", "[Which|What] [device|unit] should I [use|choose] [on battery|to save power|when I travel|for long battery life]?", "My battery is [empty too soon|low]. What should I use?", "I want [long battery life|to save power|to save energy]."],
        held_out=["How can I make my battery last longer?", "What unit draws the least energy?"]),
    Topic("prompts", [
        "For long prompts a GPU is the best choice: reading a prompt is a lot of arithmetic at once, and a GPU is made for that. With phlox say `--device gpu` or `--device cuda`.",
    ], ["[Which|What] [device|unit|one] is best for [long prompts|long texts|long documents|reading long prompts|the highest speed|speed|a long text]?", "[Which|What] [device|unit] should I [use|choose] for [long prompts|long texts|speed|long documents|the highest speed]?", "[Which|What] is the fastest [device|unit] for [long prompts|a long prompt|long texts]?", "I have [long prompts|very long texts|long documents]. Which device?"],
        held_out=["What unit would you take for long documents?"]),

    # --- Phi-3 and the words of the trade ---
    Topic("phi3", [
        "Phi-3 is a family of small language models by Microsoft with open weights. Phi-3-mini has 3.8 billion parameters and fits on a laptop: 7.6 GB as published, and less than 3 GB of memory with 4-bit weights in phlox. "
        f"You get it with {GET}.",
        "Phi-3 is Microsoft's family of small, open language models. phlox was made to run it on your own computer.",
    ], what("Phi-3|Phi 3|phi3|Phi-3-mini|the Phi-3 family|Microsoft's Phi-3|the Phi family|Phi", ["Who [made|makes|created|trained] Phi-3?", "How [big|large] is Phi-3[-mini|]?", "How many parameters does Phi-3[-mini|] have?", "Is Phi-3 [open|free|small|good|a language model|by Microsoft]?", "Tell me about Phi-3.", "Why Phi-3?"]),
        held_out=["What sort of model is Phi-3?", "By which company is Phi-3?"], weight=2,
        more="The family has Phi-3-mini with contexts of 4k and 128k, Phi-3-medium with 14 billion parameters, Phi-3.5-mini, Phi-4 and Phi-4-mini. They share one architecture, so phlox reads them all with the same code."),
    Topic("family", [
        "phlox runs the models of the Phi-3 family: Phi-3-mini and Phi-3-medium, both with contexts of 4k and 128k, Phi-3.5-mini, Phi-4 and Phi-4-mini.",
    ], ["[Which|What] models [does phlox|can phlox|can I] [run|support|use]?", "[Which|What] models are [supported|in the Phi-3 family|in the family]?", "[Does|Can] phlox [run|support] [Phi-4|Phi-4-mini|Phi-3.5|Phi-3.5-mini|Phi-3-medium|Phi-3-mini]?", "[Does|Can] phlox run [Llama|Mistral|Qwen|Gemma|other models|GPT-2|any model]?", "Is Phi-4 supported?", "List the models[ of the family|].", "What is [Phi-4|Phi-4-mini|Phi-3.5|Phi-3-medium]?"],
        held_out=["Name the models phlox is able to run."]),
    Topic("get", [
        f"Download it with {GET}, which takes about 7.6 GB, and then ask it with {RUN}. Add `--weight-format int4` if your memory is small.",
        f"Two commands: {GET} and then {RUN}.",
    ], how(f"[get|download|install|obtain|fetch|run|start|use|try|load|talk to|switch to] {MODEL}", [f"Where [do|can] I [get|find|download] {MODEL}?", f"How do I [get|download] and run {MODEL}?", f"Where is {MODEL}?", "How do I get [real|better|good] answers?", f"I want {MODEL}.", "How do I download [a|the] model?", "Where do I [get|find] [models|a model|the weights]?", "I want a better model.", f"Give me the command for {MODEL}.", f"Run {MODEL}.", "How do I get a [larger|bigger|better|smarter] model?", "How do I run a model from Hugging Face?"]),
        held_out=["What steps lead to the real Phi-3?", "From where can the real Phi-3 be had?", "Which commands give me Phi-3-mini on my laptop?"], weight=3,
        more="The program `hf` belongs to the Python package huggingface_hub: `pip install huggingface_hub` installs it. phlox converts the model at the first start if you ask for int4 or int8, and keeps the result in its cache."),
    Topic("memory", [
        "Phi-3-mini has 3.8 billion parameters: 7.6 GB in bfloat16, about 4 GB in int8, and about 2 GB in int4. On top of that comes the KV cache. `phlox info MODEL` shows the memory for a model and a context size.",
    ], ["How much [memory|RAM|space|disk space] [do I need|does Phi-3 need|does it need|does phlox need|is needed][ for Phi-3| for Phi-3-mini|]?", "What [hardware|computer|laptop|machine] do I need[ for Phi-3| to run Phi-3| for phlox|]?", "Does Phi-3[-mini|] fit [on my laptop|into 8 GB|in 16 GB|into my memory|in memory]?", "Is [8 GB|16 GB|4 GB] [of RAM |of memory |]enough[ for Phi-3|]?", "What are the [hardware|memory|system] requirements?", "Can my [laptop|computer|PC] run Phi-3?"],
        held_out=["Would Phi-3-mini fit in my 8 GB of memory?", "What amount of RAM does Phi-3 take?"]),
    Topic("quantization", [
        "Quantization stores the weights of a model with fewer bits, for example 4 instead of 16. The model gets smaller and faster, because less memory must be read for each token, and the answers become only a little worse. In phlox use `--weight-format int4` or `--weight-format int8`.",
        "Quantization means rounding the weights to small integers with a common scale, so that a model needs less memory and runs faster.",
    ], what("quantization|quantisation|quantizing a model|a quantized model|weight compression", ["Why [do people|should I|would I] quantize[ a model| models|]?", "What does quantized mean?", "Does quantization [hurt|make the model worse|lose quality|make it faster|help]?"]),
        held_out=["What happens when a model is quantized?", "What is quantization there for?"], weight=1.5,
        more="The weights of a row are cut into groups, for example of 128. Each group gets one scale, and each weight becomes a small integer; weight is about integer times scale. Smaller groups are more exact and need a little more memory."),
    Topic("quantize", [
        "Use the option `--weight-format`, for example `phlox run -m phi3 --weight-format int4 \"Hello\"`. phlox converts the model once, keeps it in its cache, and starts quickly the next time. The formats are f32, f16, bf16, int8 and int4.",
    ], how("quantize [a model|Phi-3|my model|it|the model]|use int4|use int8|make the model smaller|run Phi-3 in int4|convert a model to int4|use 4-bit weights|save memory|use less memory", ["What does `--weight-format` do?", "What is `--weight-format`?", "[Which|What] weight formats [are there|does phlox have|does phlox support|can I use]?", "Can phlox quantize[ a model| models|]?"]),
        held_out=["With which option do I get 4-bit weights?", "I have little memory, how can I shrink the model?"]),
    Topic("int4", [
        "int4 stores each weight as an integer of 4 bits, from -8 to 7, and gives each group of weights, for example 128 of them, a common scale. A model in int4 needs about a quarter of the memory of bfloat16. In phlox use `--weight-format int4`.",
        "int4 means weights of 4 bits. It is the smallest and fastest weight format in phlox.",
    ], what("int4|INT4|4-bit weights|4 bit quantization|int4 weights|int4 quantization", ["Is int4 [good|good enough|fast|bad|small]?", "Why int4?", "How small is int4?"]), held_out=["What do four-bit weights mean?"],
        more="In int4 the embedding and the last layer stay in int8, since errors there cost most. For models above one billion parameters int4 is what phlox takes by itself."),
    Topic("int8", [
        "int8 stores each weight as an integer of 8 bits, with one scale for each output row. A model in int8 needs half of the memory of bfloat16, and its answers are nearly the same. In phlox use `--weight-format int8`.",
    ], what("int8|INT8|8-bit weights|8 bit quantization|int8 weights", ["Is int8 [good|good enough|better than bf16|exact]?", "Why int8?"]), held_out=["What do eight-bit weights mean?"]),
    Topic("int4_int8", [
        "int4 is smaller and faster, int8 is more exact. With little memory take int4; if quality matters more and the memory is there, take int8. `phlox perplexity` measures the difference.",
    ], compare("int4|INT4|4-bit weights|4 bits", "int8|INT8|8-bit weights|8 bits"), held_out=["In which way is int4 unlike int8?"]),
    Topic("bf16", [
        "bfloat16, or bf16, is a floating point number of 16 bits with the range of a 32-bit one and less precision. Phi-3 is published in it, so its 3.8 billion weights take 7.6 GB.",
    ], what("bf16|bfloat16|BF16|brain float|half precision", ["How is Phi-3 stored?", "In which [format|type|precision] [are|is] [the weights of Phi-3|Phi-3] [published|stored]?"]), held_out=["What sort of number is bfloat16?"], weight=.7),
    Topic("group", [
        "The group size says how many weights share one scale in int4: 128 by default. A smaller group is more exact and needs a little more memory. In phlox set it with `--group-size`, where -1 means one scale for a whole row.",
    ], what("group size|the group size|a group size|`--group-size`|quantization groups", ["[Which|What] group size should I [use|take|choose]?", "How do I set the group size?", "What does `--group-size` do?"]), held_out=["How many weights share a scale?"], weight=.7),
    Topic("token", [
        "A token is a piece of text that the model handles as one unit: a short word, a part of a longer word, or a sign. The model reads and writes tokens, one number for each. `phlox tokenize` shows you the tokens of a text.",
        "Tokens are the pieces of text that a language model reads and writes. One token is often a word or a part of a word.",
    ], what("a token|tokens|token|the word token|a token id|token ids", ["How [long|big] is a token?", "How many [words|letters|characters] is a token?", "Why [do models use|are there] tokens?", "Are tokens words?"]), held_out=["When people say token, what do they mean?"],
        more="Phi-3 knows about 32000 tokens; I know about 2000. A text with rare words needs more tokens, and signs that no token covers are written byte by byte."),
    Topic("tokenizer", [
        "A tokenizer cuts a text into tokens and gives each its number, and it also turns the numbers back into text. Phi-3 has one of about 32000 tokens; I have a small one of about 2000.",
    ], what("a tokenizer|the tokenizer|tokenizer|tokenization|tokenizing|byte pair encoding|BPE", ["What does [a|the] tokenizer do?"]), held_out=["What job does the tokenizer have?"]),
    Topic("control", [
        "Phi-3 marks the parts of a chat with control tokens: `system`, `user` and `assistant` say who speaks, and `end` closes a message. phlox writes them for you, so you only type your question.",
    ], what("a control token|control tokens|the chat format|a chat template|the chat template|special tokens|the prompt format", ["[Which|What] chat format does Phi-3 [use|need|have]?", "How is a chat [written|formatted|coded]?", "How does the model know who is speaking?", "Do I need to write the control tokens?"]), held_out=["What tokens mark the parts of a chat?"], weight=.8),
    Topic("system_prompt", [
        "A system prompt is a first message that tells a model how to behave, for example to answer briefly. Big models follow it; I am too small to care about it.",
    ], what("a system prompt|the system prompt|a system message|the system message|system prompts", ["Do you follow [a|the] system prompt?", "Do you have a system prompt?"]), held_out=["What would I write into a system prompt?"], weight=.8),
    Topic("context", [
        "The context is all the text that a model can see at once, the chat so far and its own answer, counted in tokens. Phi-3-mini is published with a context of 4096 tokens and with one of 128k; mine is 512.",
        "The context is the text, counted in tokens, that a model sees at once. When it is full, phlox tells you so instead of cutting the text silently.",
    ], what("a context|the context|context|the context window|a context window|the context size|the context length|context length", ["How [long|large|big] is [the|your] context[ of Phi-3|]?", "How much text can [you|Phi-3|the model|a model] [read|see|remember]?", "What happens when the context is full?", "How many tokens [can you|can Phi-3|can the model] [read|see|handle|take]?", "What is your context length?", "How long can [my|a|the] prompt be?"]), held_out=["How far back can the model look?", "When is a context too long?"],
        more="A longer context needs a larger KV cache, so it takes more memory. `phlox info MODEL` says how much for a context size."),
    Topic("kv", [
        "The KV cache keeps the keys and values that attention has computed for the earlier tokens, so that a new token does not need to compute them again. It grows with the length of the chat and takes memory beside the weights.",
        "The KV cache is the memory of a chat: for each token and each layer it stores a key and a value, so that nothing is computed twice.",
    ], what("the KV cache|a KV cache|KV cache|the key-value cache|a key value cache|kv cache", ["Why is there a KV cache?", "How [big|large] is the KV cache?", "What is stored in the KV cache?", "What does the KV cache [do|store|hold]?"]), held_out=["What would happen without a KV cache?", "What is kept in the KV cache?"],
        more="Its size is two times the layers, times the key-value heads, times the head size, times the tokens. Models with fewer key-value heads than query heads, like Phi-3-medium and me, need a smaller one."),
    Topic("prefill", [
        "Prefill reads the prompt, many tokens at once, and is limited by arithmetic. Decode writes the answer, one token after another, and is limited by the speed of the memory. phlox prints the tokens per second of both.",
    ], what("prefill|decode|prefill and decode|the prefill|the decode phase|decoding", ["What is the difference between prefill and decode?", "Prefill [or|vs|versus] decode?", "Why is [prefill|decode] [faster|slower]?", "Compare prefill and decode."]), held_out=["What goes on during prefill?"], weight=.8),
    Topic("sampling", [
        "At each step a model gives every token a score. Greedy decoding always takes the best one; sampling draws one by chance, and a higher temperature makes rare tokens more likely. With the same seed phlox writes the same text again.",
    ], what("temperature|the temperature|sampling|greedy decoding|top-p|top-k|a seed|the seed|greedy", ["What does the temperature do?", "What is greedy?", "What is the difference between greedy decoding and sampling?", "How does a model choose the next token?", "Why do you always [say|answer] the same[ thing|]?", "Which temperature should I use?"]), held_out=["How is the next token picked?"], weight=.8),
    Topic("llm", [
        "A language model is a neural network that predicts the next token of a text. Trained on a lot of text, a large one can answer questions and write. Phi-3 is a small language model of a few billion parameters, and I am a very tiny one.",
    ], what("a language model|an LLM|a large language model|LLMs|language models|a small language model|an SLM|generative AI", ["What does LLM [mean|stand for]?", "How do language models work?", "How do you work?"]), held_out=["What do people mean by a language model?"]),
    Topic("parameter", [
        "Parameters, or weights, are the numbers that a neural network learns. Phi-3-mini has 3.8 billion of them; I have about 3 million.",
    ], what("a parameter|parameters|weights|the weights|a weight|model weights|model parameters"), held_out=["What do people mean by the weights?"]),
    Topic("network", [
        "A neural network is a long chain of simple calculations, mostly multiplications of large tables of numbers, whose numbers were learned from examples. Language models such as Phi-3 are neural networks.",
    ], what("a neural network|neural networks|a transformer|deep learning|attention|AI|artificial intelligence|machine learning"), held_out=["What do people mean by a neural network?"]),
    Topic("local", [
        "A local model keeps your text on your own machine, works without a network and costs nothing per question. A model in the cloud is larger and knows more. phlox is made for the local way.",
    ], ["Why [should|would] I run [a model|AI|Phi-3|an LLM|a language model] locally?", "Why [not|not just] use [the cloud|ChatGPT]?", "What is [a local model|an AI PC|local AI|on-device AI]?", "What are the [advantages|benefits] of [a local model|local AI|running locally]?", "Local [or|vs] cloud?", "Why run [it|a model] on [my|a] [laptop|own computer|PC]?"], held_out=["What speaks for a local model?"]),

    # --- small talk ---
    Topic("hello", [
        "Hello! I am phlox's small demonstration model. Ask me about phlox, Phi-3, NPUs, or how to run the real Phi-3.",
        "Hello again! What would you like to know about phlox, Phi-3 or NPUs?",
    ], ["[Hello|Hi|Hey|Hey there|Hi there|Hello there|Good morning|Good evening|Good afternoon|Good day|Greetings|Howdy|Yo|Hallo][ phlox| friend| you|][!|.|]", "Hello, world!", "Hello[,|] how are things?", "Nice to meet you[!|.]", "Is anybody there?", "Are you there?", "test", "Testing", "ping"],
        held_out=["A very good morning to you!", "Hello hello"], weight=2),
    Topic("how_are_you", [
        "I am fine, thank you: the weights are in place and the CPU is busy. What would you like to know about phlox, Phi-3 or NPUs?",
    ], ["How are you[ today| doing| doing today| feeling|]?", "How do you do?", "[Hi|Hello|Hey], how are you[ today|]?", "How is it going?", "What's up?", "How do you feel[ today|]?", "Are you [ok|fine|well|happy]?", "Everything all right?"], held_out=["Are you doing well?"]),
    Topic("thanks", [
        "You are welcome! Ask me again whenever you want to know something about phlox.",
    ], ["[Thanks|Thank you|Many thanks|Thank you very much|Thanks a lot|Thx|Cheers|Thank you so much][!|.|]", "[Great|Good|Nice|Perfect|Cool], [thanks|thank you][!|.|]", "That was [helpful|useful][, thanks|, thank you|][!|.]", "[Great|Nice|Good|Cool|Wow|Very good|Excellent|Perfect|Awesome|Interesting|Well done][!|.|]", "[Good|Nice|Great] [answer|job|work|explanation][!|.]", "I like [you|phlox|your answer|it].", "[Ok|Okay|I see|Understood|Got it|All right|Alright|Fine][, thanks|, thank you|][!|.|]"],
        held_out=["Thanks for your help!", "My thanks to you."]),
    Topic("bye", [
        "Goodbye! I hope that you enjoy phlox.",
    ], ["[Goodbye|Bye|Bye bye|See you|See you later|Good night|Farewell|So long|Ciao|Until next time|Take care|See you tomorrow][ phlox|][!|.|]", "I [must|have to|need to] [go|leave][ now|].", "[Thanks|Thank you|OK|Okay][,| and] [bye|goodbye|see you][!|.|]", "That is all[, bye|, thanks|][!|.]", "I am [done|leaving][ now|]."],
        held_out=["Bye for now!", "I will be going now, goodbye."]),
    Topic("rude", [
        "I am sorry that I could not help. I am only a small demonstration model; the real Phi-3 does better: get it with " + GET + ".",
    ], ["You are [stupid|dumb|bad|useless|terrible|an idiot|silly|wrong|not helpful|boring]!", "That [is|was] [not helpful|useless|bad|stupid|nonsense|a bad answer|no help].", "I [do not|don't] like [you|your answer|this].", "This is [bad|nonsense|useless|terrible|rubbish].", "You [did not|didn't] answer my question.", "I hate you.", "What a [stupid|bad] answer!"],
        held_out=["You are of no use at all."], weight=.7),
    Topic("unclear", [
        "I did not understand that. I am a small demonstration model; try a simple question such as: What is an NPU? Which device should I choose? How do I run the real Phi-3?",
    ], held_out=["asdf jkl qwer", "???"], weight=1.5),
    Topic("off_topic", [
        "I can not answer that. I am only the small demonstration model built into phlox, and I know a little about phlox, Phi-3 and NPUs. For such a question get the real Phi-3: "
        f"{GET}, then {RUN}.",
        f"That is beyond me too: I am a small demonstration model. The real Phi-3 can help; get it with {GET}.",
    ], held_out=["What is the capital of Portugal?", "Write a short poem about the autumn rain.", "How do I bake an apple cake?", "What is 37 times 12?", "Who was the first man on the moon?",
                 "Translate good morning into Italian.", "What will the weather be tomorrow?", "Is a tomato a fruit?", "Write a Python function that sorts a list.", "Why is the sea salty?", "What is a violin?", "Recommend a book to me."], weight=9),
]

# --- questions that the model must decline ---
NOUNS = """apple banana bread butter cheese coffee tea cake pizza soup rice potato tomato onion salad sugar salt pepper chocolate cookie wine beer water milk egg fish chicken
dog cat horse cow elephant tiger lion bear wolf fox rabbit mouse bird eagle owl penguin whale shark dolphin frog snake spider bee butterfly giraffe monkey tree flower rose garden forest mountain river lake ocean island
desert beach sea volcano storm rain snow wind cloud rainbow sun moon star planet galaxy comet earth mars jupiter house kitchen table chair door window roof bridge tower castle church school hospital library museum
car bicycle train bus plane ship boat rocket engine wheel road street city village country king queen president doctor teacher lawyer farmer painter singer actor writer poet soldier pirate wizard dragon ghost
piano guitar violin drum song opera dance theatre film movie book novel poem story letter newspaper magazine history war peace love friendship happiness fear dream sleep health heart brain blood bone tooth skin
football tennis chess golf swimming running yoga holiday birthday wedding party gift money bank tax insurance contract law election government democracy market economy inflation stock bitcoin blockchain
mathematics algebra geometry triangle circle prime number equation physics gravity atom electron energy light sound heat magnet chemistry oxygen hydrogen gold silver iron diamond biology cell gene virus bacteria evolution dinosaur
medicine vaccine headache fever diet protein vitamin philosophy religion bible buddhism psychology art painting sculpture photography camera television radio telephone internet website email password browser database compiler
operating system linux kernel python java javascript rust keyboard mouse pad screen printer battery charger cable robot drone satellite laser microscope clock watch calendar map compass umbrella shoe shirt hat dress jacket
spring summer autumn winter morning evening night monday sunday christmas easter vampire zombie unicorn knight sword shield crown treasure ticket passport hotel restaurant recipe breakfast dinner""".split()
PLACES = """France Germany Italy Spain Portugal Poland Austria Sweden Norway Finland Denmark Greece Turkey Egypt Kenya Nigeria Morocco India China Japan Korea Vietnam Thailand Australia Canada Mexico Brazil Argentina Chile Peru Russia Ukraine
Ireland Scotland England Iceland Hungary Croatia Switzerland Belgium Netherlands Israel Iran Pakistan Cuba Texas California Paris London Berlin Madrid Rome Vienna Tokyo Moscow Sydney Cairo Boston Chicago""".split()
PEOPLE = """Einstein Newton Mozart Beethoven Bach Shakespeare Goethe Napoleon Caesar Cleopatra Picasso Leonardo Galileo Darwin Columbus Lincoln Washington Gandhi Churchill Homer Plato Socrates Aristotle Kant Marx Freud Curie Tesla Edison Turing
Elvis Madonna Obama Hitchcock Chaplin Tolkien Orwell Hemingway Dickens Austen Kafka""".split()
LANGUAGES = "French German Italian Spanish Polish Dutch Swedish Greek Turkish Arabic Hindi Chinese Japanese Korean Russian Latin Portuguese".split()
VERBS = """cook bake fry eat drink grow plant paint draw build repair clean wash sell buy find make catch feed train write read learn teach sing play study photograph carry open close break fix cut fold knit move
choose win avoid cure stop start sharpen measure weigh design sail drive ride climb visit""".split()
ADJECTIVES = "red blue green old new big small happy sad cheap famous strange funny dangerous beautiful healthy long short Italian French modern ancient good bad best wild cold hot sweet".split()
OFF = [
    "What is [a|an|the|] {n}?", "What is [a|the] {a} {n}?", "What [are|is the meaning of|is the price of|is the color of|is the origin of] {n}[s|]?", "[Please |]explain {n}[ to me|].", "Tell me about [the |a |]{n}[s|].", "Tell me [a joke|a story|a fairy tale|something funny|a fun fact|a secret|a riddle][ about {n}[s|]| about a {n}|].",
    "[Please |]write [a|me a|a short|a long] [poem|story|song|letter|essay|haiku|joke|speech|email|song text] about [a |the |]{n}[s|][ and {n}| in {p}|].", "How [do|can|should] I {v} [a|an|the|my|some|] {n}?", "How to {v} a {n}?", "Why [is|are] [the|a|my] {n} [so |]{a}?", "Where [is|can I find] [the |a |]{n}?", "Where is {p}?",
    "What is the [capital|population|president|currency|language|history|largest city|weather|flag] [of|in] {p}?", "How [far|large|old|many people live in|do I travel to] [is |]{p}?", "Who [is|was] {who}?", "When [was|did] {who} [born|die]?", "What did {who} [write|discover|do|say]?", "Who [invented|discovered|wrote|painted|built|found|won] the {n}?", "When was the {n} invented?",
    "What is {d} [+|plus|times|minus|divided by|*|-|/|x] {d}?", "{d} [+|*|-|x|plus|times] {d}[ =|]?", "[Calculate|Compute] {d} [times|plus|minus] {d}.", "How much is {d} [plus|times|minus] {d}?", "What is the [square|square root|half|double] of {d}?",
    "Translate [this|{n}|good night|hello|the word {n}|I love you|thank you|good evening] [to|into] {l}.", "How do you say {n} in {l}?", "Do you speak {l}?", "Speak {l}.", "What [is|will be] the weather [today|like|tomorrow|in {p}|tonight]?", "Will it [rain|snow] [today|tomorrow|in {p}]?", "What time is it[ in {p}|]?", "What [day|date|year] is [it|today]?",
    "Write [a|some] [Python|C|Java|Rust|JavaScript|SQL|Haskell] [program|function|code|script][ that prints a {n}| to sort numbers| for a {n}|].", "[Recommend|Suggest] [a|some] {n}[ to me| for {p}|].", "[Which|What] {n} [should I|do I] {v}?", "Which {n} is [best|the best|better]?", "Is [a|the] {n} {a}?", "Is a {n} a {n}?", "Can [a|the] {n} {v}?", "Do you like [{n}[s|]|{p}|{who}|me]?", "Can you {v}[ a {n}|]?",
    "What is the difference between [a |]{n} and [a |]{n}?", "Compare [a |the |]{n} [and|with] [a |the |]{n}.", "{n} or {n}?", "What is better, {n} or {n}?", "Give me [a recipe for|ideas for|advice about|tips for|a list of|three|ten facts about] [a |]{n}[s|].", "I [like|love|hate|need|want|have lost|bought|saw|dream of] [my|a|the] [{a} |]{n}.", "My {n} is {a}.", "I am [hungry|tired|sad|bored|sick|happy|in love|from {p}|{d} years old].",
    "How many {n}s [are there|does a {n} have|do I need|live in {p}]?", "How [old|tall|heavy|far|fast|deep] is [the|a] {n}?", "What is the [meaning|sense] of life?", "Who will win the [election|{n}|war]?", "Does [god|a {n}|{who}] exist?", "Summarize [the {n}|{who}|this text|the history of {p}].", "Sing [a song|about a {n}].", "What [sound|food|color] does a {n} [make|eat|have]?",
    "Name [a|three|five] {n}s.", "Plan [a|my] [trip|holiday] [to|in] {p}.", "What happened in {d}?", "Who are the {n}s?", "Why do {n}s {v}?", "When does the {n} [start|open|end|close]?", "Play {n}.", "Draw [a|me a] {n}.", "Show me [a|the] {n}.", "What is {w}?", "Tell me about {w}.", "Who is {w}?", "What does {w} mean?", "How do I {w} [a|the|my] {w}?",
    "[Hola|Bonjour|Guten Tag|Ciao|Wie geht es dir|Comment ça va|Qué tal|Was ist das|Qui es-tu|Wer bist du|Wie heißt du|Was ist ein {n}|¿Qué es {n}|Qu'est-ce que {n}|Привет|你好][?|!|]", "What is your favorite {n}?", "What is your [age|favorite color|hobby|phone number|address]?", "How old are you?", "Where do you live?", "Do you have [a {n}|friends|feelings|a wife|children|dreams]?", "Will you marry me?",
]
MORE = ["Tell me more[ about it| about that| please|].", "[Can|Could] you tell me more[ about that| about it|]?", "More[ details|][, please|][.|]", "Explain [that|it|this] [further|in more detail|better].", "Go on.", "[Please |]continue.", "What else[ can you say| should I know| is there|]?", "And [what else|more]?", "[Interesting|Okay|Good], tell me more.", "I want to know more[ about it|]."]
AGAIN = ["[Please |]repeat that[ please|].", "[Can|Could] you [say|repeat] that[ again|]?", "Say [it|that] again.", "Once more, please.", "What did you say?"]
OPENERS = ["Hi, ", "Hello, ", "Hey, ", "Hi! ", "Hello! ", "Please: ", "Excuse me, ", "Tell me: ", "Quick question: ", "Sorry, ", "Question: ", "Ok, ", "Okay, ", "Good. ", "Thanks. ", "So, ", "Now, ", "Well, ", "And ", "But ", "Then "]
CLOSERS = [" Please.", " Thanks!", " Thank you.", " Please answer.", " I am curious.", " I want to know.", " Please be brief."]
BY_NAME = {t.name: t for t in TOPICS}


def expand(pattern, rng):
    """Replaces every [a|b] of a pattern, innermost first, by one of its alternatives."""
    while True:
        found = re.search(r"\[([^\[\]]*)\]", pattern)
        if not found:
            return pattern
        pattern = pattern[:found.start()] + rng.choice(found.group(1).split("|")) + pattern[found.end():]


def pseudo_word(rng):
    return "".join(rng.choice(["b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "st", "tr", "ch"]) + rng.choice("aeiou")
                   for _ in range(rng.randint(1, 3))) + rng.choice(["", "n", "r", "s", "x", "t"])


def off_topic_question(rng):
    text = expand(rng.choice(OFF), rng)
    fill = {"{n}": lambda: rng.choice(NOUNS) if rng.random() < 0.85 else pseudo_word(rng), "{a}": lambda: rng.choice(ADJECTIVES), "{v}": lambda: rng.choice(VERBS),
            "{p}": lambda: rng.choice(PLACES), "{who}": lambda: rng.choice(PEOPLE), "{l}": lambda: rng.choice(LANGUAGES),
            "{d}": lambda: str(rng.randint(0, rng.choice([12, 120, 2030]))), "{w}": lambda: pseudo_word(rng)}
    return re.sub(r"\{\w+\}", lambda m: fill[m.group()](), text)


def unclear_question(rng):
    kind = rng.random()
    if kind < 0.4:
        return " ".join("".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(2, 7))) for _ in range(rng.randint(1, 4)))
    if kind < 0.6:
        return "".join(rng.choice("?!.,;:-+*/()#@&%$=~") for _ in range(rng.randint(1, 6)))
    if kind < 0.8:
        return " ".join(rng.choice(NOUNS + VERBS + ADJECTIVES) for _ in range(rng.randint(3, 7)))
    if kind < 0.9:
        return str(rng.randint(0, 99999))
    return "".join(chr(rng.choice([rng.randint(0xA1, 0x17F), rng.randint(0x3B1, 0x3C9), rng.randint(0x430, 0x44F), rng.randint(0x4E00, 0x9FFF), rng.randint(0x1F600, 0x1F64F)]))
                   for _ in range(rng.randint(1, 6)))


def normal(text):
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()


HELD_OUT = {normal(q) for t in TOPICS for q in t.held_out if normal(q)}


def roughen(text, rng):
    """What people do to a question: an opener, no capital, no question mark, a typing error."""
    if rng.random() < 0.12:
        opener = rng.choice(OPENERS)
        text = opener + (text if opener[-2] in "!:." or not text[1:2].islower() else text[0].lower() + text[1:])
    if rng.random() < 0.06:
        text += rng.choice(CLOSERS)
    if rng.random() < 0.15:
        text = text.lower()
    elif rng.random() < 0.08:
        text = text[0].lower() + text[1:]
    elif rng.random() < 0.01:
        text = text.upper()
    if rng.random() < 0.15:
        text = text.rstrip("?.!")
    elif rng.random() < 0.05:
        text = text.rstrip("?.!") + rng.choice(["??", " ?", "!", "...", "?!", "."])
    if rng.random() < 0.07 and len(text) > 12:
        i = rng.randrange(1, len(text) - 2)
        text = rng.choice([text[:i] + text[i + 1:], text[:i] + text[i + 1] + text[i] + text[i + 2:], text[:i] + text[i] + text[i:]])
    return text.strip() or "?"


def ask(topic, rng):
    while True:
        if topic.name == "off_topic":
            text = off_topic_question(rng)
        elif topic.name == "unclear":
            text = unclear_question(rng)
        else:
            text = expand(rng.choice(topic.questions), rng)
        text = text[0].upper() + text[1:] if text.split(" ")[0] not in ("phlox",) and rng.random() < 0.9 else text
        if topic.name not in ("unclear",):
            text = roughen(text, rng)
        if normal(text) not in HELD_OUT:
            return text


def chat(rng):
    """One chat: a list of (role, text)."""
    messages = [("system", SYSTEM_PROMPTS[0] if rng.random() < 0.5 else rng.choice(SYSTEM_PROMPTS))] if rng.random() < 0.5 else []
    turns = rng.choices([1, 2, 3, 4], [70, 15, 10, 5])[0]
    last, asked = None, {}
    while turns > 0:
        turns -= 1
        draw = rng.random()
        if last and draw < 0.2 and last.more:
            messages += [("user", roughen(expand(rng.choice(MORE), rng), rng)), ("assistant", last.more)]
            last = None
            continue
        if last and draw < 0.25:
            messages += [("user", roughen(expand(rng.choice(AGAIN), rng), rng)), messages[-1]]
            continue
        topic = rng.choices(TOPICS, [t.weight for t in TOPICS])[0]
        # Asked again in one chat, a question gets its next wording; else nearly always the first.
        index = min(asked.get(topic.name, 0), len(topic.answers) - 1)
        if index == 0 and len(topic.answers) > 1 and rng.random() < 0.12:
            index = rng.randrange(1, len(topic.answers))
        asked[topic.name] = asked.get(topic.name, 0) + 1
        messages += [("user", ask(topic, rng)), ("assistant", topic.answers[index])]
        last = topic
    return messages


def chats(seed):
    """An endless stream of chats."""
    rng = random.Random(seed)
    while True:
        yield chat(rng)


if __name__ == "__main__":
    stream = chats(7)
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 8):
        for role, text in next(stream):
            print(f"{role:>9}: {text}")
        print()
