"""The policy: a causal language model with its tokenizer, made from scratch, loaded or saved.

Weights are safetensors and nothing else, code from a model's repository is never run, and a checkpoint appears under
its name only when it is whole: a manifest with digests is written last and checked on loading. With LoRA a checkpoint
is the adapter alone, and loading it puts the adapter back on its base, so a round goes on from the adapter of the
round before. How a prompt becomes token ids is decided here once, for generation and for training.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exspin.config import LoraConfig, TinyConfig
from exspin.errors import MissingExtra, ModelError
from exspin.ledger import digest_file, sync_directory, unwritable, write_json
from exspin.records import Prompt
from exspin.tiny_tokenizer import tiny_tokenizer

try:
    import torch
    import transformers
    from huggingface_hub.errors import StrictDataclassError
    from peft import LoraConfig as PeftLoraConfig
    from peft import PeftConfig, PeftModel, get_peft_model
    from safetensors import SafetensorError
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoTokenizer,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedModel,
        PreTrainedTokenizerBase,
    )

    from exspin.hub import cached_alone
except ModuleNotFoundError as missing:
    raise MissingExtra("a language model", missing.name or "torch", "train") from missing

NOTES = "exspin.json"
BASE = "base"  # the key of the notes under which an adapter's base is found after a move
MANIFEST = "manifest.json"
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Policy:
    """A model that writes SQL. `source` says where it came from: `tiny`, a directory or a hub id."""

    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    source: str

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def end_id(self) -> int:
        """The token that ends an answer."""
        return int(self.tokenizer.eos_token_id)

    @property
    def pad_id(self) -> int:
        """Fills rows of a batch; always masked."""
        return int(self.tokenizer.pad_token_id)

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt
) -> tuple[list[int], list[int]]:
    """Token ids of the prefix that a database's questions share, and of the rest.

    The two are tokenized apart, and their concatenation is the prompt, in generation as in training. A begin token, for
    tokenizers that add one, is the first of the prefix (a chat template may have written it already).
    """
    prefix = _ids(tokenizer, prompt.text[: prompt.prefix_chars])
    begin = tokenizer.bos_token_id
    if begin is not None and prefix[:1] != [begin]:
        framed = tokenizer("", add_special_tokens=True)["input_ids"]
        if framed[:1] == [begin]:
            prefix = [begin, *prefix]
    return prefix, _ids(tokenizer, prompt.text[prompt.prefix_chars :])


def encode_answer(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of an answer, without the end token; the name of a special token in it is ordinary text."""
    return _ids(tokenizer, text, literal=True)


def _ids(tokenizer: PreTrainedTokenizerBase, text: str, *, literal: bool = False) -> list[int]:
    if not text:
        return []  # some tokenizers write a word boundary for nothing
    # Lone surrogates have no UTF-8 form; the tokenizer would refuse them.
    clean = text.encode("utf-8", "replace").decode("utf-8")
    options: dict[str, Any] = {"split_special_tokens": True} if literal else {}
    return list(tokenizer(clean, add_special_tokens=False, verbose=False, **options)["input_ids"])


def make_tiny(texts: Iterable[str], tiny: TinyConfig, *, seed: int, max_tokens: int) -> Policy:
    """A small Llama with random weights and a byte-level BPE tokenizer trained on `texts`.

    `max_tokens` is the context: prompt and answer together. The same arguments give the same bits.
    """
    tokenizer = tiny_tokenizer(texts, tiny.vocabulary, max_tokens)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=tiny.width,
        intermediate_size=64 * round(tiny.width / 24),  # 8/3 of the width, as in Llama
        num_hidden_layers=tiny.layers,
        num_attention_heads=tiny.heads,
        num_key_value_heads=tiny.heads,
        max_position_embeddings=max_tokens,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = LlamaForCausalLM(config)
    return Policy(model.eval(), tokenizer, "tiny")


def load_policy(
    source: str | Path,
    *,
    device: str,
    dtype: str,
    lora: LoraConfig | None = None,
    seed: int = 0,
) -> Policy:
    """Load a causal language model from a directory or the hub, ready for generation (eval mode).

    With `lora` the model comes with a trainable adapter: the one in the directory if it holds an adapter, else a new one
    that changes nothing yet, its random half drawn from `seed`. Raises `ModelError`, one line, for whatever cannot be
    loaded whole: no configuration, pickled or damaged weights, missing tensors, no end token, an adapter without base.
    """
    name = str(source)
    local = _directory(name)
    target = torch.device(resolve_device(device))
    with _quiet():
        if local is not None and (local / "adapter_config.json").exists():
            _check_files(local)
            _check_manifest(local)
            model: Any = _load_adapter(local, dtype, lora)
        else:
            model = _load_model(name, local, dtype)
            if lora is not None:
                model = _new_adapter(model, lora, seed)
        tokenizer = _load_tokenizer(name, local)
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError(
            f"{name}: the tokenizer has {len(tokenizer)} tokens but the model only {rows}; "
            "use the tokenizer that belongs to the weights"
        )
    return Policy(model.to(target).eval(), tokenizer, name)


def check_source(source: str | Path) -> None:
    """Raise `ModelError` for a model that is not there, before slow work. No weights are read."""
    name = str(source)
    if (local := _directory(name)) is not None:
        _check_files(local)
    else:
        cached_alone(name)


def _directory(name: str) -> Path | None:
    """The directory a source names, or None for a hub id."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise ModelError(f"{name}: is a file; give the directory that holds config.json")
    if name == "tiny":
        raise ModelError("model 'tiny' is made by a run: give the checkpoint directory of a run")
    if name.startswith((".", "~", "/")) or name.count("/") > 1 or not name.strip():
        raise ModelError(f"{name!r}: no such directory; give a model directory or a hub id")
    return None


def _check_files(directory: Path) -> None:
    """Refuse what is not a whole checkpoint before a library reads any of it."""
    files = sorted(path.name for path in directory.iterdir())
    if not files:
        raise ModelError(f"{directory}: the directory is empty; give one with config.json in it")
    if "config.json" not in files and "adapter_config.json" not in files:
        raise ModelError(f"{directory}: has no config.json; give the directory of a saved model")
    # peft would take a pickled adapter beside any other safetensors file.
    adapter = "adapter_config.json" in files
    whole = (
        "adapter_model.safetensors" in files
        if adapter
        else any(file.endswith(".safetensors") for file in files)
    )
    if not whole:
        pickled = next((file for file in files if file.endswith(PICKLES)), None)
        if pickled:
            raise ModelError(
                f"{directory}: has only pickled weights ({pickled}), which can run code when read; "
                "convert them to safetensors where you trust them, with model.save_pretrained()"
            )
        raise ModelError(f"{directory}: has no weights (*.safetensors); copy them there")


def _check_manifest(directory: Path) -> None:
    """Refuse what is not as it was saved; models from elsewhere have no manifest."""
    if not (directory / MANIFEST).exists():
        return
    for name, digest in _read_json(directory / MANIFEST).items():
        path = directory / name
        if not path.is_file():
            raise ModelError(f"{path}: missing; the checkpoint is not whole, use another one")
        if digest_file(path) != digest:
            raise ModelError(
                f"{path}: changed or damaged since it was saved; use another checkpoint"
            )


def _load_model(name: str, local: Path | None, dtype: str) -> PreTrainedModel:
    if local is not None:
        _check_files(local)
        _check_manifest(local)
    place, options = _place(name, local)
    with _one_line_errors(name):
        config = AutoConfig.from_pretrained(place, **options)
        # A round starts from its reference exactly, so the policy must be the same function in training.
        for key, value in vars(config).items():
            if isinstance(value, float) and key.endswith(("dropout", "pdrop", "_drop")):
                setattr(config, key, 0.0)
        options |= {
            "config": config,
            "dtype": DTYPES[dtype],
            "use_safetensors": True,
            "output_loading_info": True,
            # The search for an adapter beside the model does not follow `local_files_only`.
            "adapter_kwargs": {"local_files_only": options.get("local_files_only", False)},
        }
        load: Any = AutoModelForCausalLM.from_pretrained
        try:
            model, report = load(place, attn_implementation="sdpa", **options)
        except ValueError as error:
            if "scaled_dot_product_attention" not in str(error):
                raise
            model, report = load(place, attn_implementation="eager", **options)
    if report["missing_keys"]:  # transformers would go on with random numbers in their place
        first = sorted(report["missing_keys"])[0]
        raise ModelError(
            f"{name}: {len(report['missing_keys'])} tensors are missing in the weights "
            f"({first}, …); copy the model again"
        )
    loaded: PreTrainedModel = model
    return loaded


def _place(name: str, local: Path | None) -> tuple[str, dict[str, Any]]:
    """Where a library finds a model, and how it may look."""
    if local is not None:
        return str(local), {"trust_remote_code": False}
    return name, {"trust_remote_code": False, "local_files_only": cached_alone(name)}


def _new_adapter(model: PreTrainedModel, lora: LoraConfig, seed: int) -> PeftModel:
    targets = lora.target_modules
    make: Any = PeftLoraConfig
    config = make(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), _one_line_errors(f"lora.target_modules = {targets!r}"):
        torch.manual_seed(seed)
        adapted: PeftModel = get_peft_model(model, config)
    return adapted


def _load_adapter(directory: Path, dtype: str, lora: LoraConfig | None) -> PeftModel:
    with _one_line_errors(str(directory)):
        saved = PeftConfig.from_pretrained(str(directory))
    if (kind := str(saved.peft_type).rpartition(".")[2]) != "LORA":
        raise ModelError(f"{directory}: a {kind} adapter; give one made with LoRA")
    if not saved.base_model_name_or_path:
        raise ModelError(f"{directory}: the adapter does not name its base model")
    if lora is not None and (saved.r, saved.lora_alpha) != (lora.rank, lora.alpha):
        raise ModelError(
            f"{directory}: the adapter has rank {saved.r} and alpha {saved.lora_alpha:g}, the configuration "
            f"{lora.rank} and {lora.alpha:g}; set lora.rank and lora.alpha to the adapter's"
        )
    base_name = _find_base(directory, str(saved.base_model_name_or_path))
    try:
        base = _load_model(base_name, _directory(base_name), dtype)
    except ModelError as error:
        raise ModelError(f"{directory}: the adapter's base cannot be loaded: {error}") from error
    with _one_line_errors(str(directory)):
        adapted: PeftModel = PeftModel.from_pretrained(
            base, str(directory), is_trainable=lora is not None
        )
    adapted.peft_config["default"].base_model_name_or_path = base_name  # for the next checkpoint
    return adapted


def _find_base(directory: Path, named: str) -> str:
    """The adapter's base: where its configuration says, or, after a move of both, where it is from the adapter."""
    kept = load_notes(directory).get(BASE)
    if kept is None or Path(named).is_dir():
        return named
    near = (directory.absolute() / kept).resolve()
    if not near.is_dir():
        raise ModelError(
            f"{directory}: the adapter's base model is neither at {named} nor at {near}; "
            f"put it there, or a link to it: ln -s BASE {near}"
        )
    return str(near)


def _load_tokenizer(name: str, local: Path | None) -> PreTrainedTokenizerBase:
    place, options = _place(name, local)
    with _one_line_errors(f"{name}: tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(place, **options)
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"{name}: the tokenizer has no end token (eos_token); name one in tokenizer_config.json"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked everywhere, so any id will do
    return tokenizer


def save_policy(
    policy: Policy, directory: Path, *, notes: Mapping[str, Any], folders: Sequence[Path] = ()
) -> None:
    """Write weights (or the adapter alone), tokenizer and notes; the directory appears whole or not at all.

    `notes` is whatever a later user of the weights must know (the prompt's configuration, the round) as plain JSON;
    `load_notes` reads it. `folders` are copied into the checkpoint. Raises `RunError` when the place cannot be written.
    """
    staging = directory.with_name(directory.name + ".tmp")
    replaced = directory.with_name(directory.name + ".old")
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        for leftover in (staging, replaced):
            if leftover.exists():
                shutil.rmtree(leftover)
        staging.mkdir()
        with _quiet():
            _write_weights(policy, staging)
            policy.tokenizer.save_pretrained(str(staging))
        write_json(staging / NOTES, {**notes, **_base_note(policy, directory)})
        for folder in folders:
            shutil.copytree(folder, staging / folder.name)
        files = sorted(path for path in staging.rglob("*") if path.is_file())
        for path in files:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        digests = {str(path.relative_to(staging)): digest_file(path) for path in files}
        write_json(staging / MANIFEST, digests)
        if directory.exists():
            directory.rename(replaced)
        staging.rename(directory)
        sync_directory(directory.parent)
        if replaced.exists():
            shutil.rmtree(replaced)
    except SafetensorError as error:  # how safetensors reports a full disk
        raise unwritable(directory, OSError(_errno(error), _short(error))) from error
    except OSError as error:
        raise unwritable(directory, error) from error


def _base_note(policy: Policy, directory: Path) -> dict[str, str]:
    """Where the base of an adapter is, seen from the adapter: the configuration names a place on this machine."""
    if not isinstance(policy.model, PeftModel):
        return {}
    base = Path(str(policy.model.peft_config["default"].base_model_name_or_path)).expanduser()
    return {BASE: os.path.relpath(base.absolute(), directory.absolute())} if base.is_dir() else {}


def _write_weights(policy: Policy, staging: Path) -> None:
    if not isinstance(policy.model, PeftModel):
        policy.model.save_pretrained(str(staging))
        return
    adapter = policy.model.peft_config["default"]
    base = str(adapter.base_model_name_or_path)
    if Path(base).expanduser().is_dir():
        adapter.base_model_name_or_path = str(Path(base).expanduser().absolute())
    # "auto" would ask the hub whether the embedding was resized; it never is here.
    policy.model.save_pretrained(str(staging), save_embedding_layers=False)


def load_notes(directory: Path) -> dict[str, Any]:
    """The notes `save_policy` wrote; empty for a model that exspin did not save."""
    path = directory / NOTES
    return _read_json(path) if path.exists() else {}


def resolve_device(device: str) -> str:
    """`auto` becomes `cuda` where there is one, else `cpu`. Raises `ModelError` for a device that is not there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"device = {device!r}: torch sees no GPU here; set device to cpu or auto")
    return device


def set_threads(threads: int | None) -> None:
    """Limit torch to this many CPU threads; None leaves torch's choice."""
    if threads is not None:
        torch.set_num_threads(threads)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{path}: cannot be read ({_short(error)}); the checkpoint is damaged"
        ) from error


def _short(error: Exception) -> str:
    """A library's message in one line."""
    text = " ".join(str(error).split())
    return text if len(text) <= 240 else text[:240] + " …"


def _errno(error: Exception) -> int:
    return errno.ENOSPC if "No space" in str(error) else errno.EIO


@contextmanager
def _one_line_errors(subject: str) -> Iterator[None]:
    """What the libraries raise for a model that cannot be used, as a `ModelError`."""
    try:
        yield
    except (
        OSError,
        ValueError,
        RuntimeError,
        KeyError,
        ImportError,
        TypeError,
        SafetensorError,
        StrictDataclassError,
    ) as error:
        raise ModelError(f"{subject}: cannot be loaded: {_short(error)}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and advice from transformers while it loads or saves."""
    logging: Any = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.ERROR)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations between peft and transformers
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
