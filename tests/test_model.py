"""Policies: made from scratch, saved whole, loaded whole or refused in one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from exspin.config import LoraConfig, TinyConfig
from exspin.errors import ModelError, RunError
from exspin.ledger import digest_file
from exspin.model import (
    Policy,
    encode_answer,
    encode_prompt,
    load_notes,
    load_policy,
    make_tiny,
    resolve_device,
    save_policy,
    set_threads,
)
from exspin.records import Prompt

TEXTS = (
    "table singer (singer_id integer primary key, name text: Joe Sharp | Timbaland, age integer: 52 | 32)\n"
    "table concert (concert_id integer primary key, Song_release_year text, singer_id integer)\n"
    "foreign keys: concert.singer_id = singer.singer_id\n\nquestion: What are the names of singers from France?\nsql:",
    "SELECT DISTINCT T1.name, count(*) FROM singer AS T1 JOIN concert AS T2 ON T1.singer_id = T2.singer_id "
    "WHERE T1.age >= 20 AND T2.Song_release_year = '2014' GROUP BY T1.name ORDER BY count(*) DESC LIMIT 1",
) * 3
SMALL = TinyConfig(layers=2, width=32, heads=2, vocabulary=500)


def tiny(seed: int = 0) -> Policy:
    return make_tiny(TEXTS, SMALL, seed=seed, max_tokens=128)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny()


@pytest.fixture
def saved(policy: Policy, tmp_path: Path) -> Path:
    save_policy(policy, tmp_path / "checkpoint", notes={"prompt": {"max_tokens": 96}})
    return tmp_path / "checkpoint"


def load(source: Path | str, lora: LoraConfig | None = None) -> Policy:
    return load_policy(source, device="cpu", dtype="float32", lora=lora)


def weights(policy: Policy) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}


def same_weights(one: Policy, other: Policy) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- the tiny model ------------------------------------------------------------------------------------------------


def test_the_default_tiny_model_has_at_most_ten_million_parameters() -> None:
    policy = make_tiny([f"word{n:04d}" for n in range(9)], TinyConfig(), seed=0, max_tokens=1024)
    full_vocabulary = policy.parameters + (3000 - len(policy.tokenizer)) * TinyConfig().width
    assert 1e6 < full_vocabulary <= 1e7
    assert policy.model.get_input_embeddings().weight is policy.model.get_output_embeddings().weight


def test_the_same_texts_and_seed_give_the_same_bits_in_another_process(
    policy: Policy, saved: Path
) -> None:
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import test_model as t\n"
        "t.save_policy(t.tiny(), Path(sys.argv[2]), notes={})"
    )
    other = saved.with_name("other")
    here = str(Path(__file__).parent)
    subprocess.run(
        [sys.executable, "-c", script, here, str(other)], check=True, capture_output=True
    )
    for name in ("tokenizer.json", "model.safetensors", "config.json"):
        assert digest_file(saved / name) == digest_file(other / name), name
    assert not same_weights(policy, tiny(seed=1))


def test_making_a_model_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    tiny(seed=5)
    assert torch.equal(before, torch.get_rng_state())


# --- the tiny tokenizer --------------------------------------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_comes_back_from_its_tokens(text: str) -> None:
    tokenizer = TOKENIZER
    assert tokenizer.decode(encode_answer(tokenizer, text)) == text


TOKENIZER = tiny().tokenizer


@pytest.mark.parametrize(
    "text",
    [
        *TEXTS[:2],
        "  a\t\tb \n\n c naïve 東京 😀 \r\n __x__ HTMLParser iPhone",
        "<|end|> <|pad|>",
        "e\u0301 \x00 ½²",
    ],
)
def test_hard_texts_come_back_from_their_tokens(text: str) -> None:
    ids = encode_answer(TOKENIZER, text)
    assert TOKENIZER.decode(ids) == text
    assert not {TOKENIZER.eos_token_id, TOKENIZER.pad_token_id} & set(ids)


def test_a_lone_surrogate_becomes_a_question_mark() -> None:
    assert TOKENIZER.decode(encode_answer(TOKENIZER, "a\ud800b")) == "a?b"


def pieces(text: str) -> list[str]:
    return [TOKENIZER.decode([token]) for token in encode_answer(TOKENIZER, text)]


@pytest.mark.parametrize(
    "text",
    [
        "table singer (",
        "\ntable singer (",
        "FROM singer",
        "FROM concert, singer",
        "JOIN singer ON",
        "= singer.name",
        "(singer",
    ],
)
def test_a_name_is_the_same_tokens_in_schema_and_query(text: str) -> None:
    name = pieces("singer")
    found = pieces(text)
    assert any(found[i : i + len(name)] == name for i in range(len(found))), found


def test_numbers_are_cut_into_groups_of_four_digits_and_aliases_stay_together() -> None:
    assert pieces("20142015") == [*pieces("2014"), *pieces("2015")]
    assert pieces("T1.name")[:2] == ["T1", "."]


# --- prompts as tokens ---------------------------------------------------------------------------------------------


def test_prefix_and_rest_are_tokenized_apart() -> None:
    text = TEXTS[0]
    prompt = Prompt("x", "concert", text, prefix_chars=20)  # in the middle of a word
    prefix, rest = encode_prompt(TOKENIZER, prompt)
    assert TOKENIZER.decode(prefix) == text[:20]
    assert TOKENIZER.decode(rest) == text[20:]
    assert encode_prompt(TOKENIZER, Prompt("y", "concert", text[:20], 20)) == (prefix, [])


def test_a_begin_token_is_part_of_the_prefix_once() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "a": 2, "b": 3}, unk_token="</s>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    core.add_special_tokens(["<s>", "</s>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")
    assert encode_prompt(tokenizer, Prompt("x", "d", "a b", 1)) == ([0, 2], [3])
    assert encode_prompt(tokenizer, Prompt("x", "d", "<s>a b", 4)) == ([0, 2], [3])
    assert encode_answer(tokenizer, "b a") == [3, 2]


# --- saving and loading --------------------------------------------------------------------------------------------


def test_a_saved_policy_comes_back_whole(policy: Policy, saved: Path) -> None:
    back = load(saved)
    assert same_weights(policy, back)
    assert (back.end_id, back.pad_id, back.parameters) == (0, 1, policy.parameters)
    assert back.source == str(saved)
    assert not back.model.training
    for text in (*TEXTS[:2], "<|end|> 東京"):
        assert encode_answer(back.tokenizer, text) == encode_answer(policy.tokenizer, text)
    assert load_notes(saved) == {"prompt": {"max_tokens": 96}}
    assert sorted(path.name for path in saved.parent.iterdir()) == ["checkpoint"]


def test_saving_again_replaces_the_checkpoint_and_clears_leftovers(
    policy: Policy, saved: Path
) -> None:
    (saved.parent / "checkpoint.tmp").mkdir()
    (saved.parent / "checkpoint.tmp" / "half").write_text("")
    save_policy(tiny(seed=9), saved, notes={"round": 2})
    assert same_weights(load(saved), tiny(seed=9))
    assert load_notes(saved) == {"round": 2}
    assert sorted(path.name for path in saved.parent.iterdir()) == ["checkpoint"]


def test_a_place_that_cannot_be_written_is_one_line(policy: Policy, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot be written"):
        save_policy(policy, tmp_path / "file" / "checkpoint", notes={})


def test_a_kill_while_saving_leaves_the_old_checkpoint(
    policy: Policy, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("exspin.model.digest_file", killed)
    with pytest.raises(KeyboardInterrupt):
        save_policy(tiny(seed=9), saved, notes={})
    monkeypatch.undo()
    assert same_weights(load(saved), policy)


def test_dropout_of_a_loaded_model_is_off_in_training_too(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=500, n_embd=32, n_layer=1, n_head=2, n_positions=64)
    )
    save_policy(Policy(model, TOKENIZER, "gpt2"), tmp_path / "gpt2", notes={})
    back = load(tmp_path / "gpt2").model.train()
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(back(input_ids=ids).logits, back(input_ids=ids).logits)


# --- adapters ------------------------------------------------------------------------------------------------------

LORA = LoraConfig(rank=2, alpha=4.0)


def shift_adapter(policy: Policy) -> None:
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)


def logits(policy: Policy) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = policy.model(input_ids=torch.tensor([[5, 6, 7, 8]])).logits
    return result


def test_a_new_adapter_changes_nothing_and_alone_is_trained(policy: Policy, saved: Path) -> None:
    adapted = load(saved, LORA)
    assert torch.equal(logits(adapted), logits(policy))
    trained = [name for name, p in adapted.model.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    assert same_weights(adapted, load(saved, LORA))


def test_a_round_goes_on_from_the_adapter_of_the_round_before(saved: Path) -> None:
    adapted = load(saved, LORA)
    shift_adapter(adapted)
    directory = saved.with_name("round-1")
    save_policy(adapted, directory, notes={})
    assert not (directory / "model.safetensors").exists()  # the adapter alone
    for lora in (None, LORA):
        back = load(directory, lora)
        assert torch.allclose(logits(back), logits(adapted), atol=1e-6)
        assert any(p.requires_grad for p in back.model.parameters()) == (lora is not None)
    assert not torch.allclose(logits(load(directory)), logits(load(saved)), atol=1e-3)


def test_an_adapter_of_another_rank_is_refused(saved: Path) -> None:
    save_policy(load(saved, LORA), saved.with_name("round-1"), notes={})
    with pytest.raises(
        ModelError, match=r"has rank 2 and alpha 4, the configuration 8 and 4; set lora"
    ):
        load(saved.with_name("round-1"), LoraConfig(rank=8, alpha=4.0))


def test_an_adapter_without_its_base_is_refused(saved: Path) -> None:
    save_policy(load(saved, LORA), saved.with_name("round-1"), notes={})
    saved.rename(saved.with_name("moved"))
    with pytest.raises(
        ModelError,
        match=f"round-1: the adapter's base model is neither at {saved} nor at {saved}; put",
    ):
        load(saved.with_name("round-1"))
    saved.symlink_to(saved.with_name("moved"))
    load(saved.with_name("round-1"))


def test_an_adapter_that_is_moved_with_its_base_finds_it(saved: Path, tmp_path: Path) -> None:
    """A folder with models and runs in it goes to another machine: the place in the configuration is not there."""
    here = tmp_path / "project"
    (here / "models").mkdir(parents=True)
    saved.rename(here / "models" / "base")
    adapted = load(here / "models" / "base", LORA)
    shift_adapter(adapted)
    save_policy(adapted, here / "runs" / "mine" / "round-1", notes={"round": 1})
    wanted = logits(adapted)
    there = here.rename(tmp_path / "elsewhere")
    back = load(there / "runs" / "mine" / "round-1", LORA)
    assert torch.allclose(logits(back), wanted, atol=1e-6)
    # What is saved next names the new place.
    save_policy(back, tmp_path / "apart", notes={})
    assert torch.allclose(logits(load(tmp_path / "apart")), wanted, atol=1e-6)


def test_target_modules_that_are_not_there_are_refused(saved: Path) -> None:
    with pytest.raises(ModelError, match=r"^lora.target_modules = \('nothing',\): "):
        load(saved, LoraConfig(rank=2, target_modules=("nothing",)))


# --- what is refused -----------------------------------------------------------------------------------------------


def refused(directory: Path | str) -> str:
    with pytest.raises(ModelError) as caught:
        load(directory)
    message = str(caught.value)
    assert "\n" not in message
    assert str(directory) in message
    return message


def unmanifested(saved: Path) -> Path:
    """As a model from elsewhere: without our manifest."""
    (saved / "manifest.json").unlink()
    return saved


def test_a_missing_directory(tmp_path: Path) -> None:
    assert "no such directory" in refused(tmp_path / "none")


def test_a_file_instead_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert "is a file" in refused(tmp_path / "model.safetensors")


def test_an_empty_directory(tmp_path: Path) -> None:
    assert "empty" in refused(tmp_path)


def test_a_directory_without_config(saved: Path) -> None:
    (unmanifested(saved) / "config.json").unlink()
    assert "no config.json" in refused(saved)


def test_pickled_weights_are_refused_with_the_cure(saved: Path) -> None:
    (unmanifested(saved) / "model.safetensors").rename(saved / "pytorch_model.bin")
    assert "only pickled weights (pytorch_model.bin)" in (message := refused(saved))
    assert "convert them to safetensors" in message


def test_a_pickled_adapter_beside_other_safetensors_is_refused(saved: Path) -> None:
    save_policy(load(saved, LORA), saved.with_name("round-1"), notes={})
    adapter = unmanifested(saved.with_name("round-1"))
    (adapter / "adapter_model.safetensors").rename(adapter / "decoy.safetensors")
    (adapter / "adapter_model.bin").write_bytes(b"a pickle")
    assert "only pickled weights (adapter_model.bin)" in refused(adapter)


def test_an_adapter_of_another_kind_is_refused(saved: Path) -> None:
    save_policy(load(saved, LORA), saved.with_name("round-1"), notes={})
    adapter = unmanifested(saved.with_name("round-1"))
    config = json.loads((adapter / "adapter_config.json").read_text())
    kept = {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4, "task_type": "CAUSAL_LM"}
    kept["base_model_name_or_path"] = config["base_model_name_or_path"]
    (adapter / "adapter_config.json").write_text(json.dumps(kept))
    assert "a PROMPT_TUNING adapter" in refused(adapter)


def test_a_configuration_with_a_value_of_the_wrong_type_is_refused(saved: Path) -> None:
    config = json.loads((unmanifested(saved) / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, "hidden_size": "x"}))
    assert "cannot be loaded" in refused(saved)


def test_notes_nested_too_deeply_are_refused(saved: Path) -> None:
    (saved / "exspin.json").write_text("[" * 200_000)
    with pytest.raises(ModelError, match=r"cannot be read"):
        load_notes(saved)


def test_the_name_of_a_special_token_in_an_answer_is_text(policy: Policy, saved: Path) -> None:
    """Also where the tokenizer would read it as the token: a label must not end in the middle."""
    end = policy.tokenizer.eos_token
    path = saved / "tokenizer_config.json"
    options = json.loads(path.read_text())
    path.write_text(json.dumps({**options, "split_special_tokens": False}))
    plain = load(unmanifested(saved))
    assert plain.end_id in plain.tokenizer(f"SELECT '{end}'")["input_ids"]
    assert plain.end_id not in encode_answer(plain.tokenizer, f"SELECT '{end}'")


def test_no_weights(saved: Path) -> None:
    (unmanifested(saved) / "model.safetensors").unlink()
    assert "no weights" in refused(saved)


def test_truncated_weights(saved: Path) -> None:
    path = unmanifested(saved) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    refused(saved)


def test_a_flipped_bit_is_found_by_the_manifest(saved: Path) -> None:
    path = saved / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert "changed or damaged" in refused(saved)


def test_missing_tensors_are_not_filled_with_random_numbers(saved: Path) -> None:
    path = unmanifested(saved) / "model.safetensors"
    tensors = load_file(path)
    tensors.pop("model.layers.1.mlp.up_proj.weight")
    save_file(tensors, path, metadata={"format": "pt"})
    assert "1 tensors are missing" in refused(saved)


def test_weights_of_another_shape(saved: Path) -> None:
    config = json.loads((unmanifested(saved) / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"intermediate_size": 17}))
    refused(saved)


@pytest.mark.parametrize(
    "content", ["", "<html>", "{}", '{"model_type": "nothing"}', '{"model_type": "t5"}']
)
def test_a_config_that_is_none(saved: Path, content: str) -> None:
    (unmanifested(saved) / "config.json").write_text(content)
    refused(saved)


def test_code_from_a_repository_is_not_run(saved: Path) -> None:
    config = json.loads((unmanifested(saved) / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"},
    }
    (saved / "config.json").write_text(json.dumps(config))
    (saved / "evil.py").write_text(f"open({str(saved / 'ran')!r}, 'w')")
    refused(saved)
    assert not (saved / "ran").exists()


def test_a_tokenizer_without_end_token(saved: Path) -> None:
    path = unmanifested(saved) / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    settings.pop("eos_token")
    path.write_text(json.dumps(settings))
    assert "no end token" in refused(saved)


def test_a_tokenizer_without_padding_uses_the_end_token(saved: Path) -> None:
    path = unmanifested(saved) / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    settings.pop("pad_token")
    path.write_text(json.dumps(settings))
    back = load(saved)
    assert back.pad_id == back.end_id


def test_a_tokenizer_with_more_tokens_than_the_model(saved: Path) -> None:
    larger = make_tiny(
        TEXTS + tuple(f"word{n}x" for n in range(300)),
        SMALL.model_copy(update={"vocabulary": 600}),
        seed=0,
        max_tokens=64,
    )
    larger.tokenizer.save_pretrained(str(unmanifested(saved)))
    assert "use the tokenizer that belongs" in refused(saved)


def test_damaged_notes_are_an_error(saved: Path) -> None:
    (saved / "exspin.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        load_notes(saved)
    (saved / "exspin.json").unlink()
    assert load_notes(saved) == {}


def test_a_hub_model_without_network_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "hub cannot be reached" in refused("nobody/never-made-this-model")


def test_a_cached_hub_model_needs_no_network(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    place = tmp_path / "hub" / "models--some--model"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("abc")
    shutil.copytree(unmanifested(saved), place / "snapshots" / "abc")

    def no_network(*_: object, **__: object) -> None:
        raise ConnectionError("there is none")

    def asked(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", no_network)
    monkeypatch.setattr("socket.getaddrinfo", asked)
    assert same_weights(load("some/model"), load(saved))


# --- where it runs -------------------------------------------------------------------------------------------------


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == "cpu"
    with pytest.raises(ModelError, match=r"^device = 'cuda': torch sees no GPU"):
        resolve_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == "cuda"


def test_threads() -> None:
    before = torch.get_num_threads()
    try:
        set_threads(1)
        assert torch.get_num_threads() == 1
        set_threads(None)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
