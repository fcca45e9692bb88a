#!/usr/bin/env python3
"""Write tokenizer.json: small vocabularies, texts, and the ids that transformers' CLIPTokenizer gives them; and
clip_tokenizer.json, the ids that it gives the same texts with CLIP's own merges.

    python make_tokenizer.py [--out FOLDER] [tokenizer clip_tokenizer]

Needs transformers 5.  README.md beside this file says what is in the fixture.
"""
import argparse
import json
import os
import random
import tempfile
import zlib

import tokenizers
import transformers
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
START, END = "<|startoftext|>", "<|endoftext|>"

SENTENCES = """
a photo of a cat sitting on a wooden table, portrait of an astronaut riding a horse on mars, highly detailed
digital painting, artstation, concept art, smooth, sharp focus, illustration, a quick brown fox jumps over the dog
an oil painting of the sea in the style of claude monet, masterpiece, best quality, 8k uhd, dslr, soft lighting
don't you think it's time we'll say they've seen what i'm doing? he'd be there, we're here. 1234567890
street photography of tokyo at night, neon lights, rain, reflections; cinematic still - 35mm (film grain)
""".split("\n")

TEXTS = [
    # Plain, empty, whitespace
    "", " ", "\n\t ", "a photo of a cat", "A Photo OF a CAT", "  leading and   trailing  ", "hello, world!",
    # Contractions, digits, punctuation
    "don't can't I'll we've they're I'm he'd it's", "DON'T CAN'T I'LL WE'VE THEY'RE I'M HE'D IT'S",
    "'s 't 're 've 'm 'll 'd 'x '", "rock'n'roll ''s ''' !'s", "it’s curly", "1234567890 3.14 1,000 x2 2x", "½ ² Ⅷ ① ⅷ",
    "!!! ... ?!?! --- *** ((a)) [[b]] {c} a:b;c #tag @user $5 50% a&b a/b a\\b ~ ` ^ _ |",
    "snake_case camelCase", "a!b!c",
    "hello! hello ! ! !hello",
    # Special tokens
    START, END, f"a {START} b {END} c", f"a{START}b{END}c", "<|STARTOFTEXT|> <|EndOfText|>", "<|startoftext|",
    "|endoftext|>", f"!!{START}!!", "<|STARTOFTEXT|>!! x", "!<|ENDOFTEXT|>", "<| endoftext |>", END * 2,
    "a <cat-toy> b", "<CAT-TOY><cat-toy>", "wide   [wide]   wide", "word xwordx word", "Naïve naïve NAI\u0308VE",
    # Emoji
    "\U0001F600", "\U0001F468\u200D\U0001F469\u200D\U0001F467\u200D\U0001F466 family", "\U0001F1E9\U0001F1EA\U0001F1EB",
    "\U0001F44D\U0001F3FD", "\u2764\uFE0F", "1\uFE0F\u20E3", "\U0001F3F4\U000E0067\U000E0062\U000E0065\U000E007F",
    # Accents, composed and not; singletons and exclusions of NFC; compatibility characters, which NFC leaves
    "café", "cafe\u0301", "naïve Ünïcödé ÀÉÎÕÜ", "A\u030A \u212B Å", "\u1E9B\u0323",
    "q\u0307\u0323 q\u0323\u0307", "\u0344",
    "\u0958 \u0915\u093C", "o\u0328\u0304 ǭ", "ﬁ ﬂ ﬀ", "\u0301", "\u1100\u1161\u11A8 가\u11A8 각 \u1100",
    # Scripts
    "你好世界", "一只猫在沙发上。", "日本語のテキスト、カタカナ ｶﾀｶﾅ", "한국어 텍스트", "豈 \uF900 \U0002F800 \U0002A6D6",
    "مرحبا بالعالم مُحَمَّد ١٢٣", "नमस्ते दुनिया क्षत्रिय ०१२", "สวัสดีชาวโลก ๑๒๓ ไม้เท้า",
    "Привет, Мир! Ёлка", "שלום עולם",
    "Tiếng Việt Nguyễn", "தமிழ் கொ \u0bc6\u0bbe", "မြန်မာ ខ្មែរ", "ა Ა Ⴀ Ⰰⰰ ᎠᎡ ꭰ", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝒜 𝟘𝟙 𐐀𐐨 𞤀", "ª º µ ʰ ⁰ ₁",
    # Case
    "Ελληνικά ΣΊΣΥΦΟΣ ΟΔΥΣΣΕΎΣ", "İstanbul ISPARTA ıI i\u0307 \u0130\u0130", "STRAẞE Straße ß",
    "ǅ ǈ Ǆ \u1F88", "ϴ \u2126 \u212A",
    # Control, format, private and unassigned characters; whitespace of all kinds
    "\0", "a\0b", "\x01\x02\x1f\x7f", "a\x80\x9fb", "\ufffd", "\ufeffbom", "a\u00adb", "\u202eright\u202c\u2060",
    "zero\u200bwidth\u200cjoin\u200der", "private \ue000 \U000f0000", "\U0010ffff \ufdd0",
    "tab\tnew\nline\rcr\r\ncrlf\x0bvt\x0cff\x85nel\xa0nbsp\u1680\u2000\u2009\u200a\u2028\u2029\u202f\u205f\u3000end",
    "\u180e\u001c\u001d\u001e\u001fx",
    # Long
    "x" * 300, "ab" * 200, "猫" * 120, "\U0001F600" * 60, "!" * 200, "9" * 100, "a " * 150, "'" * 50, "'s" * 50,
    "e\u0301" * 80, "\u0301" * 40, "a" + "\u0316\u0301\u0327" * 20, " ".join(SENTENCES), "hello world " * 834,
    "abcdefghijklmnopqrstuvwxyz" * 385, "猫が好き" * 2500, "Ünïcödé, " * 1112,
]

# Blocks that random texts draw from, without what is newer than Unicode 9: transformers composes by older tables.
BLOCKS = [(0x20, 0x7e)] * 6 + [
    (0, 0x24f), (0x300, 0x34e), (0x391, 0x3a1), (0x3b1, 0x3ff), (0x400, 0x4ff), (0x5d0, 0x5ea), (0x620, 0x660),
    (0x905, 0x939), (0xe01, 0xe3a), (0x1100, 0x1112), (0x1161, 0x1175), (0x11a8, 0x11c2), (0x1e00, 0x1eff),
    (0x2000, 0x206f), (0x2100, 0x214f), (0x3041, 0x3096), (0x4e00, 0x4eff), (0xac00, 0xad00), (0xf900, 0xfa6d),
    (0xff01, 0xffbe), (0x1f300, 0x1f64f), (0x1d400, 0x1d4ff)]
SNIPPETS = [START, END, " ", "  ", "'s", "'LL", "!", "hello", "ing", "the", "\n", "e\u0301", "\u0338", "\u0345",
            "I\u0307"]


def random_text(source):
    parts = []
    for _ in range(source.randint(1, 24)):
        if source.random() < 0.25:
            parts.append(source.choice(SNIPPETS))
        else:
            parts.append(chr(source.randint(*source.choice(BLOCKS))))
    return "".join(parts)


# ---------------------------------------------------------------- vocabularies

def trained(texts, size):
    """Merges that the tokenizers library learns from texts, and the vocabulary that it makes."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    pattern = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    trainer = trainers.BpeTrainer(
        vocab_size=size, end_of_word_suffix="</w>", show_progress=False, special_tokens=[START, END])
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def clip_layout(merges):
    """CLIP's order of ids: bytes, bytes at the end of a word, merges, start and end."""
    printable = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    symbols = [chr(byte) for byte in printable] + [chr(0x100 + i) for i in range(256 - len(printable))]
    tokens = symbols + [symbol + "</w>" for symbol in symbols] + ["".join(merge) for merge in merges] + [START, END]
    return {token: i for i, token in enumerate(tokens)}


def merges_text(merges):
    return "#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in merges)


def added(content, **options):
    token = dict(content=content, lstrip=False, normalized=True, rstrip=False, single_word=False)
    return token | options


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# The files of Stable Diffusion 1.5 and 2.1.
NAMED = dict(bos_token=added(START), eos_token=added(END), unk_token=added(END))
SPECIAL = {
    "sd config": compact({key: {"__type": "AddedToken"} | token for key, token in NAMED.items()} | dict(
        add_prefix_space=False, do_lower_case=True, errors="replace", model_max_length=77, pad_token=END,
        tokenizer_class="CLIPTokenizer")),
    "sd1 map": compact(NAMED | dict(pad_token=END)), "sd2 map": compact(NAMED | dict(pad_token="!"))}


def make():
    source = random.Random(7)
    texts = TEXTS + [random_text(source) for _ in range(250)]
    large_vocabulary, merges = trained(SENTENCES * 4 + TEXTS[:80], 1400)
    large = clip_layout(merges)
    few_vocabulary, few_merges = trained(SENTENCES, 180)
    files = {
        "large vocab": compact(large), "large merges": merges_text(merges),
        "bytes vocab": json.dumps(clip_layout([])), "bytes merges": merges_text([]).replace("\n", "\r\n"),
        "few vocab": json.dumps(few_vocabulary, indent=2), "few merges": merges_text(few_merges).replace("\n", "\r\n"),
    }
    # SDXL's second tokenizer, with this vocabulary's ids.
    files |= SPECIAL
    files["sdxl config"] = compact(dict(
        add_prefix_space=False, bos_token=START, eos_token=END, unk_token=END, pad_token="!", model_max_length=77,
        added_tokens_decoder={
            str(large["!"]): added("!", normalized=False, special=True), str(large[START]): added(START, special=True),
            str(large[END]): added(END, special=True)}))
    # Added words, as textual inversion makes them, with every option.
    extra = [
        added("<cat-toy>"), added("[wide]", lstrip=True, rstrip=True, normalized=False),
        added("word", single_word=True), added("NaÏve", normalized=True)]
    files["added config"] = compact(dict(
        bos_token=START, eos_token=END, unk_token=END, pad_token=END, model_max_length=40, added_tokens_decoder={
            str(i): token for i, token in [
                (large[START], added(START, special=True)), (large[END], added(END, normalized=False, special=True)),
                *((len(large) + i, token) for i, token in enumerate(extra))]}))
    files["added tokens"] = compact({"<cat-toy>": len(large), "[wide]": len(large) + 1})

    def saved(**model):
        with tempfile.TemporaryDirectory() as folder:
            CLIPTokenizer(vocab=few_vocabulary, merges=few_merges).save_pretrained(folder)
            with open(os.path.join(folder, "tokenizer.json")) as file:
                whole = json.load(file)
        whole["model"] |= model
        return compact(whole)

    files["few json"] = saved()
    files["few json, old"] = saved(merges=[" ".join(merge) for merge in few_merges])

    large_files = {"vocab.json": "large vocab", "merges.txt": "large merges"}
    few_files = {"vocab.json": "few vocab", "merges.txt": "few merges"}
    tokenizers_ = {
        "sd1": large_files | {"tokenizer_config.json": "sd config", "special_tokens_map.json": "sd1 map"},
        "sd2": large_files | {"tokenizer_config.json": "sd config", "special_tokens_map.json": "sd2 map"},
        "sdxl 2": large_files | {"tokenizer_config.json": "sdxl config", "special_tokens_map.json": "sd2 map"},
        "no config": few_files,
        "bytes": {"vocab.json": "bytes vocab", "merges.txt": "bytes merges", "tokenizer_config.json": "sd config"},
        "tokenizer.json": {"tokenizer.json": "few json"},
        "old tokenizer.json": {"tokenizer.json": "few json, old", "special_tokens_map.json": "sd1 map"},
        "added": large_files | {"tokenizer_config.json": "added config"},
        "added_tokens.json": large_files | {"added_tokens.json": "added tokens"},
    }
    cases = []
    for name, contents in tokenizers_.items():
        tokenizer = read({file: files[key] for file, key in contents.items()})
        all_ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        length = tokenizer.model_max_length if tokenizer.model_max_length < 1000 else 77
        framed = tokenizer(texts, padding="max_length", truncation=True, max_length=length)["input_ids"]
        cases.append(dict(
            name=name, files=contents, start=tokenizer.bos_token_id, end=tokenizer.eos_token_id,
            padding=tokenizer.pad_token_id, length=length, ids=short(all_ids), framed=crc(sum(framed, [])),
            decoded=[tokenizer.decode(ids) for ids in all_ids[:12]]))
    return dict(
        versions=dict(transformers=transformers.__version__, tokenizers=tokenizers.__version__), files=files,
        texts=texts, cases=cases)


def make_clip(texts):
    with open(os.path.join(HERE, "../../Sources/CLIPMerges/merges.txt"), encoding="utf-8") as file:
        merges = [tuple(line.split()) for line in file.read().split("\n")[1:] if line]
    cases = []
    for padding, special in ((END, "sd1 map"), ("!", "sd2 map")):
        files = {"vocab.json": compact(clip_layout(merges)), "merges.txt": merges_text(merges),
                 "tokenizer_config.json": SPECIAL["sd config"], "special_tokens_map.json": SPECIAL[special]}
        tokenizer = read(files)
        ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        framed = tokenizer(texts, padding="max_length", truncation=True)["input_ids"]
        cases.append(dict(padding=padding, ids=short(ids), framed=crc(sum(framed, []))))
    return dict(versions=dict(transformers=transformers.__version__), cases=cases)


def read(files):
    """The tokenizer of a folder's files."""
    with tempfile.TemporaryDirectory() as folder:
        for file, text in files.items():
            with open(os.path.join(folder, file), "w", encoding="utf-8", newline="") as out:
                out.write(text)
        return CLIPTokenizer.from_pretrained(folder)


def short(all_ids):
    return [ids if len(ids) <= 40 else crc(ids) for ids in all_ids]


def crc(ids):
    return zlib.crc32(" ".join(map(str, ids)).encode())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", default=["tokenizer", "clip_tokenizer"])
    parser.add_argument("--out", default=HERE)
    arguments = parser.parse_args()
    paths = {name: os.path.join(arguments.out, name + ".json") for name in ("tokenizer", "clip_tokenizer")}
    for name in arguments.names:
        if name == "tokenizer":
            contents = make()
        else:
            with open(paths["tokenizer"], encoding="utf-8") as file:
                contents = make_clip(json.load(file)["texts"])
        with open(paths[name], "w") as file:
            json.dump(contents, file, separators=(",", ":"))
        print(f"{paths[name]}: {os.path.getsize(paths[name])} bytes")


if __name__ == "__main__":
    main()
