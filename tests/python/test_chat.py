"""Chat templates: transformers' own text, and templates that mean harm."""

import json
import resource

import pytest
import real
from transformers.utils.chat_template_utils import render_jinja_template

from anydraft import InputError, Vocabulary
from anydraft.chat import ChatTemplate
from anydraft.prompts import prompt_ids
from anydraft.stops import end_tokens

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather <now> & é",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
CALL = {"type": "function", "id": "abcdefghi", "function": {"name": "weather", "arguments": {}}}
USER = {"role": "user", "content": 'Hello <b> & "you"'}
CHATS = {
    "one": ([USER], {}),
    "turns": (
        [
            {"role": "system", "content": "Be brief."},
            USER,
            {"role": "assistant", "content": "Yes "},
            {"role": "user", "content": "Go on\n"},
        ],
        {},
    ),
    "tools": ([USER], {"tools": TOOLS}),
    "calls": (
        [
            USER,
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "name": "weather", "tool_call_id": "abcdefghi", "content": "sunny"},
        ],
        {"tools": TOOLS},
    ),
    "arguments": ([USER], {"enable_thinking": False}),
    "prefill": (
        [USER, {"role": "assistant", "content": "The answer is "}],
        {"continue_final_message": True, "add_generation_prompt": False},
    ),
}
NAMES = ["llama3", "qwen3", "gemma3", "gptoss", "deepseek_v3", "smollm2"]


@pytest.mark.parametrize("name", NAMES)
def test_real_templates_render_as_in_transformers(name):
    folder = real.path_of(name).parent
    template = ChatTemplate.from_file(folder)
    if template is None:
        pytest.skip(f"{name} comes without a template")
    compared = 0
    for messages, options in CHATS.values():
        options = {"add_generation_prompt": True, **options}
        source = template.sources["default"]
        try:
            [theirs], _ = render_jinja_template(
                [messages], chat_template=source, **options, **template.specials
            )
        except Exception:
            with pytest.raises(InputError):
                template.render(messages, **options)
            continue
        assert template.render(messages, **options) == theirs
        compared += 1
    assert compared >= 3


HARMFUL = {
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "doubling": "{% set n = namespace(s='a') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}"
    "{% endfor %}",
    "product": "{{ 'a' * 10000000000 }}",
    "power": "{{ 9 ** 9 ** 9 ** 9 }}",
    "width": "{{ '%1000000000d' % 1 }}",
    "format": "{{ '{:1000000000d}'.format(1) }}",
    "center": "{{ 'a'.center(10000000000) }}",
    "replace": "{% set s = 'a' * 100000 %}{{ s.replace('a', s) }}",
    "join": "{{ range(99999)|map('string')|join('a' * 1000000) }}",
    "lists": "{% set n = namespace(a=['x']) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}"
    "{% endfor %}{{ n.a }}",
    "lists joined": "{% set n = namespace(a=['x']) %}{% for i in range(60) %}"
    "{% set n.a = [n.a, n.a] %}{% endfor %}{{ [n.a]|join }}",
    "lists as text": "{% set n = namespace(a=['x']) %}{% for i in range(60) %}"
    "{% set n.a = [n.a, n.a] %}{% endfor %}{% set x = n.a|upper %}",
    "lists in a format": "{% set n = namespace(a=['x']) %}{% for i in range(60) %}"
    "{% set n.a = [n.a, n.a] %}{% endfor %}{% set x = '%s' % (n.a,) %}",
    "lists as JSON": "{% set n = namespace(a={'x': 1}) %}{% for i in range(60) %}"
    "{% set n.a = {'x': n.a, 'y': n.a} %}{% endfor %}{% set x = n.a|tojson %}",
    "escapes": "{% set n = namespace(s='\"') %}{% for i in range(99) %}{% set n.s = n.s|tojson %}"
    "{% endfor %}",
    "quotes": "{% set n = namespace(s='\\\\') %}{% for i in range(99) %}"
    "{% set n.s = '{!r}'.format(n.s) %}{% endfor %}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "classes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ messages.__init__.__globals__ }}",
    "changes": "{{ messages.append(1) }}",
    "syntax": "{% for %}",
    "raises": "{{ raise_exception('no such role') }}",
}


@pytest.mark.parametrize("name", HARMFUL)
def test_a_harmful_template_is_an_error(name):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"\[ChatTemplate.render\]"):
        ChatTemplate(HARMFUL[name]).render([USER])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB


def test_what_a_template_is_given():
    template = ChatTemplate("{{ tools|tojson }} {{ x }} {{ bos_token }}", {"bos_token": "<s>"})
    assert template.render([USER], tools=[{"a": "é<"}], x=1) == '[{"a": "é<"}] 1 <s>'
    assert ChatTemplate("{{ messages[0].name is defined }}").render([{"name": None}]) == "False"
    with pytest.raises(InputError, match="JSON"):
        template.render([{"role": object()}])
    with pytest.raises(InputError, match="got none"):
        template.render([])
    with pytest.raises(InputError, match="got both"):
        template.render([USER], add_generation_prompt=True, continue_final_message=True)
    with pytest.raises(InputError, match="cannot be continued"):
        ChatTemplate("x").render([USER], continue_final_message=True)
    named = ChatTemplate({"default": "d", "tool_use": "t"})
    assert named.render([USER]) == "d" and named.render([USER], tools=TOOLS) == "t"


def test_folders(tmp_path):
    assert ChatTemplate.from_file(tmp_path) is None
    config = {"chat_template": "c{{ eos_token }}", "eos_token": {"content": "</s>"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert ChatTemplate.from_file(tmp_path).render([USER]) == "c</s>"
    (tmp_path / "chat_template.jinja").write_text("j{{ eos_token }}")
    assert ChatTemplate.from_file(tmp_path).render([USER]) == "j</s>"
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(InputError, match="expected JSON in tokenizer_config"):
        ChatTemplate.from_file(tmp_path)


def toy():
    specials = {"<s>": 3, "<|end|>": 4, "<|return|>": 5}
    roles = {"bos": [3], "turn_end": [4], "end": [5]}
    tokens = [b"a", b"b", b"<", *[b""] * 3]
    return Vocabulary.from_bytes(
        tokens, encoder=lambda text: [0] * len(text), specials=specials, roles=roles
    )


def test_a_token_that_looks_like_an_end_is_none_where_the_model_says_so():
    vocabulary = toy()
    assert end_tokens(vocabulary, [5]) == [5]
    assert end_tokens(vocabulary) == [5]  # the tokeniser's own, not <|end|>


def test_prompts_that_spell_specials():
    class Model:
        vocabulary = real.vocabulary_of("smollm2")

    text = "<|im_start|>user\nHi<|im_end|>\n"
    with pytest.warns(UserWarning, match="specials=True"):
        plain = prompt_ids(Model, text)
    assert prompt_ids(Model, text, specials=False) == plain
    specials = Model.vocabulary.specials
    ids = prompt_ids(Model, text, specials=True)
    assert ids[0] == specials["<|im_start|>"] and specials["<|im_end|>"] in ids
    assert specials["<|im_start|>"] not in plain

    class Toy:
        vocabulary = toy()

    assert prompt_ids(Toy, "") == [3]  # its BOS
    with pytest.raises(InputError, match="2147483648"):
        prompt_ids(Toy, [2**31])
