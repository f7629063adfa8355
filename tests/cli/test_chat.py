# SPDX-License-Identifier: Apache-2.0
"""`regard chat` and `regard ask`: transformers' template and greedy text, in turns whose past is
not read again."""

import json

import pytest
from conftest import regard
from language import chat_ids, greedy, make_model, smollm2


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language") / "model"
    return folder, *make_model(folder)


def lines(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_turns_are_those_of_transformers(tmp_path):
    path, model, tokenizer = smollm2()
    said = ["My name is Ada. What is the capital of France?", "What is my name?"]
    found = lines(regard("chat", path, "--json", "--tokens", 20, stdin="\n".join(said)))
    messages, read = [], 0
    for user, turn in zip(said, found, strict=True):
        messages.append({"role": "user", "content": user})
        ids = chat_ids(tokenizer, messages)
        answer = tokenizer.decode(greedy(model, ids, 20), skip_special_tokens=True)
        assert turn["assistant"] == answer
        # What was said before is not read again, but for the last token of the answer, which no
        # step had taken.
        assert turn["read"] <= len(ids) - read + (read > 0)
        read = turn["length"]
        messages.append({"role": "assistant", "content": answer})
    assert found[1]["read"] < 25


def test_system_message_reset_and_commands(tiny):
    folder, model, tokenizer = tiny
    talk = "hello\n/reset\nhello\n/nonsense\n\n/help\n/quit\nnot read\n"
    flags = ["--json", "--tokens", 12, "--system", "Be brief."]
    done = regard("chat", folder, *flags, stdin=talk)
    found = lines(done)
    assert len(found) == 2 and found[0]["assistant"] == found[1]["assistant"]
    assert "/nonsense: no such command" in done.stderr and "/reset" in done.stderr
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
    expected = greedy(model, chat_ids(tokenizer, messages), 12)
    assert found[0]["assistant"] == tokenizer.decode(expected, skip_special_tokens=True)


def test_a_full_chat_says_so(tiny):
    talk = "".join(f"sentence {i} of many\n" for i in range(30))
    flags = ["--tokens", 30, "--context", 200, "--json"]
    done = regard("chat", tiny[0], *flags, stdin=talk, check=False)
    turns = lines(done)
    assert len(turns) == 30 and done.returncode == 1
    answered = [turn for turn in turns if turn["ended_by"] != "full"]
    assert 0 < len(answered) < 30 and all(turn["length"] <= 200 for turn in answered)
    assert "of 200 are taken: say /reset" in done.stderr and "lines got no answer" in done.stderr


def test_a_line_that_is_no_text_is_not_the_end(tiny):
    talk = b"hello\n\xff\nhello again\n"
    done = regard("chat", tiny[0], "--tokens", 3, "--json", stdin=talk, check=False)
    first, second, third = (json.loads(line) for line in done.stdout.splitlines())
    assert first["assistant"] and third["assistant"] and done.returncode == 1
    assert second["ended_by"] == "error" and "text: byte 0 is not UTF-8" in second["error"]


def test_other_templates_are_refused(tmp_path):
    folder = tmp_path / "model"
    make_model(folder)
    for template, message in (
        ("{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}", "begins {% for m in"),
        (None, "has no chat template"),
    ):
        for name in ("chat_template.jinja", "tokenizer_config.json"):
            (folder / name).unlink(missing_ok=True)
        if template:
            (folder / "chat_template.jinja").write_text(template)
        done = regard("chat", folder, stdin="hello\n", check=False)
        assert done.returncode == 1 and message in done.stderr, done.stderr


def test_a_question_about_a_document(tmp_path):
    path, _, _ = smollm2()
    document = tmp_path / "report.txt"
    filler = "The weather was ordinary on that day, and nothing else was written down. " * 20
    document.write_text(filler + "\nThe boiling point was 87 degrees.\n" + filler)
    said = regard(
        "ask", path, "--document", document, "What was the boiling point?", "--json"
    ).stdout
    assert "87" in json.loads(said)["answer"]
    piped = regard(
        "ask", path, "--document", "-", "What was the boiling point?", stdin=document.read_text()
    )
    assert piped.stdout.strip() == json.loads(said)["answer"].strip()


@pytest.mark.parametrize(
    ("text", "message", "code"),
    [
        (b"word " * 5000, "the model reads", 2),
        (b"", "an empty document", 2),
        (b"\xff\xfe", "UTF-8", 2),
        (None, "no such file", 1),
    ],
)
def test_documents_that_cannot_be_read(tiny, text, message, code, tmp_path):
    document = tmp_path / "document"
    if text is not None:
        document.write_bytes(text)
    done = regard("ask", tiny[0], "--document", document, "What?", check=False)
    assert done.returncode == code and message in done.stderr, done.stderr
