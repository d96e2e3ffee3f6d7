import pytest

from recsys_batch.rules.texts.redact import HIDDEN, flatten_config, redact_text


@pytest.mark.parametrize(
    "name",
    ["password", "db_password", "apiKey", "api_key", "fs.s3a.secret.key", "fs.s3a.access.key", "authToken", "HF_TOKEN",
     "azure.sas", "credentials", "privateKey"],
)  # fmt: skip
def test_text_under_a_secret_name_is_hidden_at_any_depth(name: str) -> None:
    assert flatten_config({"a": {name: "hunter2"}}) == {f"a.{name}": HIDDEN}


@pytest.mark.parametrize(
    "name", ["max_tokens", "text_key", "tokenizer", "keys", "tokens_a_batch", "passed", "item_key"]
)
def test_other_names_are_shown(name: str) -> None:
    assert flatten_config({name: "plain"}) == {name: "plain"}


def test_numbers_are_no_secrets_and_lists_have_positions() -> None:
    config = {"token": 3, "epochs": 2, "share": 0.5, "on": True, "none": None, "paths": ["a", {"b": "c"}], "empty": {}}
    assert flatten_config(config) == {
        "token": 3, "epochs": 2, "share": 0.5, "on": True, "none": None, "paths.0": "a", "paths.1.b": "c",
    }  # fmt: skip


def test_urls_lose_their_users_and_signatures() -> None:
    url = "https://joe:hunter2@host:80/path?X-Amz-Signature=abc&page=2&sig=xyz"
    assert redact_text(f"see {url}") == (
        f"see https://{HIDDEN}@host:80/path?X-Amz-Signature={HIDDEN}&page=2&sig={HIDDEN}"
    )
    assert redact_text("mail joe@example.com") == "mail joe@example.com"
    assert flatten_config({"path": "s3://k:v@bucket/x"}) == {"path": f"s3://{HIDDEN}@bucket/x"}
